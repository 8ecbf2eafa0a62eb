//! What `knockd check` looks at besides the configuration.

pub(crate) mod session;
