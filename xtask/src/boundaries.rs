//! What the crates may not depend on. Cargo enforces the direction of each dependency that a
//! manifest declares; this keeps a manifest from declaring the wrong one.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use cargo_metadata::Metadata;

use crate::workspace::{Workspace, output};

/// A crate, and what its dependencies, direct or indirect, must not include.
#[derive(Debug)]
struct Rule {
    package: &'static str,
    forbidden: Forbidden,
    reason: &'static str,
}

#[derive(Debug)]
enum Forbidden {
    Packages(&'static [&'static str]),
    /// Packages whose names start so, but for these.
    Prefix(&'static str, &'static [&'static str]),
}

/// What only the program `knock` uses of the client.
const PROGRAM: &[&str] = &["clap", "indicatif", "knock-page", "rustls", "tokio", "ureq"];

const RULES: &[Rule] = &[
    Rule {
        package: "knockd-listener",
        forbidden: Forbidden::Packages(&["knockd-supervisor"]),
        reason: "the listener reads untrusted network input and must not name privileged code",
    },
    Rule {
        package: "knockd-supervisor",
        forbidden: Forbidden::Packages(&["knockd-listener"]),
        reason: "the supervisor has privileges and must not run code that parses network input",
    },
    Rule {
        package: "knockd-listener",
        forbidden: Forbidden::Packages(&["hyper", "knockd-exporter", "prometheus"]),
        reason: "the listener holds keys, and the HTTP server is a process without any",
    },
    Rule {
        package: "knockd-exporter",
        forbidden: Forbidden::Packages(&["knockd-listener", "knockd-supervisor"]),
        reason: "the exporter must not name code that handles keys or has privileges",
    },
    Rule {
        package: "knockd-fleet",
        forbidden: Forbidden::Packages(&[
            "knockd-credentials",
            "knockd-listener",
            "knockd-supervisor",
        ]),
        reason: "the fleet process must not name code that handles keys or has privileges",
    },
    Rule {
        package: "knockd-listener",
        forbidden: Forbidden::Packages(&["async-nats", "knockd-fleet"]),
        reason: "the listener holds keys, and the client of NATS is in a process without any",
    },
    Rule {
        package: "knockd-supervisor",
        forbidden: Forbidden::Packages(&["async-nats", "knockd-fleet"]),
        reason: "the supervisor has privileges and must not run code that parses network input",
    },
    Rule {
        package: "knockd-types",
        forbidden: Forbidden::Packages(&["aya", "tokio"]),
        reason: "types are data: they do no I/O",
    },
    Rule {
        package: "knock-client",
        forbidden: Forbidden::Prefix("knockd-", &["knockd-credentials"]),
        reason: "the client builds for every platform, without anything of the daemon",
    },
    Rule {
        package: "knock-page-wasm",
        forbidden: Forbidden::Prefix("knock", &["knock-common"]),
        reason: "the module in the page computes knocks, and nothing else",
    },
    Rule {
        package: "xtask",
        forbidden: Forbidden::Packages(&["knock-page", "knockd-xdp"]),
        reason: "`cargo xtask setup` installs what these are built with",
    },
    Rule {
        package: "knock-ffi",
        forbidden: Forbidden::Packages(PROGRAM),
        reason: "an application that links the library must not get the parts of the program",
    },
    Rule {
        package: "knock-python",
        forbidden: Forbidden::Packages(PROGRAM),
        reason: "an application that loads the module must not get the parts of the program",
    },
];

/// The names of all dependencies of each package.
type Dependencies = BTreeMap<String, BTreeSet<String>>;

/// Checks the rules against what cargo resolves.
///
/// # Errors
///
/// Returns an error that lists each violation, or if a rule names a package that the workspace
/// does not have.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let metadata = workspace.metadata()?;
    let dependencies = dependencies(workspace, &metadata)?;
    let violations = violations(RULES, &dependencies);
    ensure!(
        violations.is_empty(),
        "dependencies that are not allowed:\n{}",
        violations.join("\n")
    );
    println!("{} rules on dependencies hold", RULES.len());
    Ok(())
}

/// The normal dependencies of each package that has a rule, on all platforms and with all
/// features of the package. `cargo metadata` cannot say this: it merges the features that all
/// members ask of a shared dependency.
fn dependencies(workspace: &Workspace, metadata: &Metadata) -> Result<Dependencies> {
    let members = metadata.workspace_packages();
    let mut dependencies = Dependencies::new();
    for rule in RULES {
        let name = rule.package;
        ensure!(
            members.iter().any(|member| member.name == name),
            "the workspace has no package {name}, for which there is a rule"
        );
        let mut tree = workspace.cargo("tree --quiet --edges normal --target all --all-features");
        tree.args(["--prefix", "none", "--format", "{p}", "--package", name]);
        let tree = output(&mut tree).context("cannot list dependencies")?;
        dependencies.insert(name.to_owned(), names(&tree));
    }
    Ok(dependencies)
}

/// The packages in the output of `cargo tree`, except the first, which is the root itself.
fn names(tree: &str) -> BTreeSet<String> {
    tree.lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

fn violations(rules: &[Rule], dependencies: &Dependencies) -> Vec<String> {
    let mut violations = Vec::new();
    for rule in rules {
        let found = dependencies.get(rule.package).into_iter().flatten();
        for name in found.filter(|name| rule.forbidden.includes(name)) {
            violations.push(format!(
                "{} depends on {name}: {}",
                rule.package, rule.reason
            ));
        }
    }
    violations
}

impl Forbidden {
    fn includes(&self, name: &str) -> bool {
        match self {
            Self::Packages(names) => names.contains(&name),
            Self::Prefix(prefix, allowed) => name.starts_with(prefix) && !allowed.contains(&name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations_of(package: &str, tree: &str) -> Vec<String> {
        let dependencies = Dependencies::from([(package.to_owned(), names(tree))]);
        violations(RULES, &dependencies)
    }

    #[test]
    fn an_indirect_dependency_violates_a_rule() {
        let tree = "knockd-types v0.1.0 (/knockd/knock-user/types)\n\
                    knock-common v0.1.0 (/knockd/knock-common)\n\
                    aya v0.14.0\nserde v1.0.229 (*)\n";
        assert_eq!(
            violations_of("knockd-types", tree),
            ["knockd-types depends on aya: types are data: they do no I/O"]
        );
    }

    #[test]
    fn the_client_may_have_credentials_and_nothing_else_of_the_daemon() {
        let tree = "knock-client v0.1.0 (/knockd)\nknock-common v0.1.0 (/knockd)\n\
                    knockd-credentials v0.1.0 (/knockd)\nknockd-runtime v0.1.0 (/knockd)\n";
        let violations = violations_of("knock-client", tree);
        assert_eq!(violations.len(), 1);
        assert!(violations[0].starts_with("knock-client depends on knockd-runtime: "));
    }

    #[test]
    fn the_two_processes_do_not_depend_on_each_other() {
        for (one, other) in [
            ("knockd-listener", "knockd-supervisor"),
            ("knockd-supervisor", "knockd-listener"),
        ] {
            let tree = format!("{one} v0.1.0\nknockd-ipc v0.1.0\n{other} v0.1.0\n");
            assert_eq!(violations_of(one, &tree).len(), 1);
            let tree = format!("{one} v0.1.0\nknockd-ipc v0.1.0\n");
            assert!(violations_of(one, &tree).is_empty());
        }
    }
}
