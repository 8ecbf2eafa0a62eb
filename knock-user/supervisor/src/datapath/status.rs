//! The datapath in `status`.

use std::collections::BTreeMap;

use knock_common::gate::Mode;
use knockd_config::Config;
use knockd_types::status::{Attachment, GateStatus, Refusal};
use tracing::warn;

use super::Datapath;
use crate::source::Source;

/// The interfaces in `status`.
#[derive(Debug, Default)]
pub(crate) struct InterfaceStatus {
    /// Those that the program is attached to.
    pub(crate) attachments: Vec<Attachment>,
    /// Those that refuse the program.
    pub(crate) refused: Vec<Refusal>,
    /// Configured ones that do not exist.
    pub(crate) awaited: Vec<String>,
    /// The kernel's counters.
    pub(crate) kernel: BTreeMap<String, u64>,
}

impl Datapath {
    /// The interfaces or the lines that SYNs come from, for display.
    pub(crate) fn listening(&self) -> String {
        match &self.source {
            Source::Xdp(xdp) => {
                let names: Vec<_> = xdp
                    .attachments()
                    .map(|attachment| attachment.interface)
                    .collect();
                if names.is_empty() {
                    return "no interface yet".into();
                }
                names.join(", ")
            }
            Source::Lines(_, path) => format!("lines from {}", path.display()),
            Source::Ended => "lines that have ended".into(),
        }
    }

    /// The state of the configured interfaces; nothing if lines are read.
    pub(crate) fn interface_status(&self) -> InterfaceStatus {
        let Source::Xdp(xdp) = &self.source else {
            return InterfaceStatus::default();
        };
        let kernel = xdp.counters().unwrap_or_else(|error| {
            warn!("cannot read the kernel's counters: {error:#}");
            BTreeMap::default()
        });
        InterfaceStatus {
            awaited: xdp.missing().to_vec(),
            attachments: xdp.attachments().collect(),
            refused: xdp.refused().cloned().collect(),
            kernel,
        }
    }

    /// The gate, if there is one, with the number of its leases.
    pub(crate) fn gate_status(&self, config: &Config, leases: usize) -> Option<GateStatus> {
        let rules = &config.gate.as_ref()?.rules;
        self.gate.as_ref()?;
        Some(GateStatus {
            mode: match rules.mode {
                Mode::Enforce => "enforce".into(),
                Mode::Observe => "observe".into(),
            },
            protect: rules.protect.iter().map(ToString::to_string).collect(),
            trusted: rules.trusted.iter().map(ToString::to_string).collect(),
            leases,
            outlives_daemon: self.pins.is_some(),
        })
    }
}
