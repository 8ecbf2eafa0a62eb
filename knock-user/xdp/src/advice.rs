//! Warnings about the interfaces of this host, for `knockd check`.

use anyhow::Result;
use knockd_types::interface::Wanted;

use crate::{addresses, drivers, interfaces, plan::Plan};

/// What an administrator should know about attaching to the `wanted` interfaces.
///
/// # Errors
///
/// Returns an error if the interfaces or their addresses cannot be listed.
pub fn advice(wanted: &Wanted) -> Result<Vec<String>> {
    let present = interfaces::list()?;
    let addressed = addresses::addressed()?;
    let mut warnings = interfaces::unknown(&wanted.missing(&present));
    for interface in &present {
        let Some(hook) = wanted.hook(interface) else {
            continue;
        };
        warnings.extend(addresses::advice(interface, wanted, &present, &addressed));
        match Plan::new(interface, hook, &present) {
            Err(error) => warnings.push(format!("{error:#}")),
            Ok(plan) => {
                warnings.extend(plan.not_native.map(|reason| {
                    format!(
                        "{}: native XDP mode is not used, because {reason}",
                        interface.name
                    )
                }));
                if plan.may_be_native() {
                    warnings.extend(drivers::advice(interface));
                }
            }
        }
    }
    Ok(warnings)
}
