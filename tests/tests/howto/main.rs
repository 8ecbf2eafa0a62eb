//! The configurations of docs/howto for other firewalls, each with the real firewall: a knock opens
//! the port, and it closes again. Rules and doors are those of the pages and of docs/examples. And the
//! role of docs/examples, with the real Ansible.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ansible;
mod crowdsec;
mod docker;
mod firewalld;
mod host;
mod page;
mod sets;
mod site;
mod ufw;
