use super::Scenario;
pub(crate) const SCENARIO: Scenario = Scenario {
    name: "program",
    title: "program",
    method: "",
    run: |_| Ok(Vec::new()),
    plot: None,
};
