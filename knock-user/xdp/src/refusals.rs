//! Messages for the administrator about the modes that an interface has refused.

use std::collections::BTreeMap;

use anyhow::anyhow;
use knockd_types::{interface::Interface, status::Mode};
use rustix::io::Errno;
use tracing::{info, warn};

use crate::{
    drivers::remedy,
    error::{Exhausted, errno},
    links::{described, is_of_knockd},
    plan::Plan,
};

/// Why an interface refused the better modes.
pub(crate) struct Refusals<'a> {
    interface: &'a Interface,
    not_native: Option<&'static str>,
    /// Whether XDP is in use by a program of other software.
    has_other_program: bool,
    errors: BTreeMap<&'static str, anyhow::Error>,
}

impl<'a> Refusals<'a> {
    pub(crate) fn new(interface: &'a Interface, plan: &Plan) -> Self {
        Self {
            interface,
            not_native: plan.not_native,
            has_other_program: false,
            errors: BTreeMap::new(),
        }
    }

    pub(crate) fn add(&mut self, mode: Mode, error: anyhow::Error) {
        let is_taken = matches!(errno(&error), Some(Errno::BUSY | Errno::EXIST));
        self.has_other_program |= is_taken && mode != Mode::Tc;
        self.errors.insert(mode.described(), error);
    }

    /// Whether it makes no sense to try `mode` after the refusals so far.
    pub(crate) fn rules_out(&self, mode: Mode, is_ours: bool) -> bool {
        self.has_other_program
            && match mode {
                Mode::Native => false,
                Mode::Generic => true,
                Mode::Tc => !is_ours && is_of_knockd(self.interface.program),
            }
    }

    /// Logs in which mode the program was attached, and why not in a better one.
    pub(crate) fn log_success(&self, mode: Mode) {
        let attached = format!(
            "attached to {} in {}",
            self.interface.name,
            mode.described()
        );
        if mode == Mode::Tc && self.has_other_program {
            warn!(
                "{attached}, because another XDP program{} is attached: it sees packets first, and knockd only what it passes",
                described(self.interface.program)
            );
            return;
        }
        let native = self.errors.get(Mode::Native.described());
        match (mode, self.not_native, native) {
            (Mode::Native, ..) | (Mode::Tc, None, None) => info!("{attached}"),
            (_, Some(reason), _) => {
                warn!("{attached}, because {reason}{}", remedy(self.interface));
            }
            (_, None, Some(error)) => {
                warn!(
                    "{attached}, because its driver does not support native mode: {error:#}{}",
                    remedy(self.interface)
                );
            }
            (Mode::Generic, None, None) => info!("{attached}"),
        }
    }

    /// The error for the administrator if all modes were refused.
    pub(crate) fn into_error(self) -> anyhow::Error {
        let name = &self.interface.name;
        let mut errors = self.errors.values();
        if let Some(exhausted) = errors.find_map(|error| Exhausted::of(error, name)) {
            return exhausted.into();
        }
        if self.has_other_program && self.errors.len() == 1 {
            return anyhow!(
                "another XDP program{} is attached to {name}, and knockd does not replace it: `ip link show dev {name}` shows it, `ip link set dev {name} xdp off` removes it. If it is the gate of a knockd that has exited, `knockd detach` removes it. Or set the interface's `attach` to \"tc\"",
                described(self.interface.program)
            );
        }
        let errors = self.errors.iter();
        let errors: Vec<_> = errors
            .map(|(mode, error)| format!("{mode}: {error:#}"))
            .collect();
        anyhow!(
            "the program cannot be attached to {name}: {}",
            errors.join("; ")
        )
    }
}
