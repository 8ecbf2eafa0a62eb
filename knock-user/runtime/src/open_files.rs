//! The limit of open files. Each interface takes one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// As many as systemd allows by default. Commands inherit the limit, and some of them close every
/// number up to it.
const ENOUGH: u64 = 512 * 1024;

/// Raises the soft limit of open files, which is low for the sake of programs that use select(2), as
/// far as the hard limit allows.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Some(current) = raised(limit) {
        let limit = Rlimit {
            current: Some(current),
            ..limit
        };
        // A system call filter may forbid it. What is lacking is then told when it is lacking.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

/// The soft limit to set; `None` to keep it.
fn raised(limit: Rlimit) -> Option<u64> {
    let wanted = limit.maximum.map_or(ENOUGH, |maximum| maximum.min(ENOUGH));
    let current = limit.current?;
    (current < wanted).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lower_limit_is_raised_and_only_as_far_as_allowed() {
        let raised = |current, maximum| raised(Rlimit { current, maximum });
        assert_eq!(raised(Some(1024), Some(4096)), Some(4096));
        assert_eq!(raised(Some(1024), Some(1 << 30)), Some(ENOUGH));
        assert_eq!(raised(Some(1024), None), Some(ENOUGH));
        assert_eq!(raised(Some(4096), Some(4096)), None);
        assert_eq!(raised(Some(1 << 20), Some(1 << 20)), None);
        assert_eq!(raised(None, None), None);
    }
}
