//! The network cards that qemu has.

use std::process::Command;

use anyhow::Result;

use crate::workspace::output;

/// qemu's devices, as `-device` takes them. The checks go by these names.
const MODELS: &[&str] = &[
    VIRTIO,
    "virtio-net-pci,host_mtu=9000",
    "virtio-net-pci,mrg_rxbuf=off",
    // Without merged buffers, a larger MTU makes the driver take its path for big packets, as the
    // offloads of a host's tap device do.
    "virtio-net-pci,mrg_rxbuf=off,host_mtu=2000",
    "e1000",
    "e1000e",
    "igb",
    "i82559er",
    "rtl8139",
    "vmxnet3",
    "pcnet",
    "ne2k_pci",
    "tulip",
];

const VIRTIO: &str = "virtio-net-pci";

/// The cards of a guest.
#[derive(Debug, Default)]
pub(super) struct Nics {
    /// Those that this qemu has.
    pub(super) models: Vec<&'static str>,
    /// Those that it does not have.
    pub(super) missing: Vec<&'static str>,
}

impl Nics {
    /// Only the card that most guests have.
    pub(super) fn short() -> Self {
        Self {
            models: vec![VIRTIO],
            missing: Vec::new(),
        }
    }

    /// Every model that the program `qemu` has.
    pub(super) fn all(qemu: &str) -> Result<Self> {
        let help = output(Command::new(qemu).args(["-device", "help"]))?;
        Ok(Self::of(&help))
    }

    fn of(help: &str) -> Self {
        let (models, missing) = MODELS.iter().partition(|model| {
            let device = model.split(',').next().unwrap_or(model);
            help.contains(&format!("name \"{device}\""))
        });
        Self { models, missing }
    }

    /// qemu's options for two cards of each model, joined by a hub: what one sends, the other
    /// receives.
    pub(super) fn options(&self) -> Vec<String> {
        let mut options = Vec::new();
        for (number, model) in (1..).zip(&self.models) {
            for side in [1, 2] {
                let id = format!("net{number}-{side}");
                options.push("-netdev".to_owned());
                options.push(format!("hubport,id={id},hubid={number}"));
                options.push("-device".to_owned());
                // Without a boot ROM: no guest boots from the network.
                options.push(format!(
                    "{model},netdev={id},romfile=,mac=52:54:00:00:{number:02x}:0{side}"
                ));
            }
        }
        options
    }

    /// A word of the kernel's command line that tells the guest which cards it has: the model and
    /// the number in the addresses of its two cards.
    pub(super) fn word(&self) -> String {
        let nics = (1..).zip(&self.models);
        let nics: Vec<_> = nics
            .map(|(number, model)| format!("{model}:{number:02x}"))
            .collect();
        format!("vm_nics={}", nics.join(";"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_that_qemu_lacks_are_reported() {
        let help = "name \"virtio-net-pci\", bus PCI\nname \"e1000\", bus PCI\n";
        let nics = Nics::of(help);
        assert_eq!(nics.models, [&MODELS[..4], &["e1000"]].concat());
        assert!(nics.missing.contains(&"igb") && nics.missing.contains(&"e1000e"));
    }

    #[test]
    fn both_cards_of_a_model_are_on_one_hub() {
        let options = Nics::short().options().join(" ");
        assert_eq!(options.matches("hubid=1").count(), 2);
        assert!(options.contains("mac=52:54:00:00:01:02"));
        assert_eq!(Nics::short().word(), "vm_nics=virtio-net-pci:01");
    }
}
