use super::Scenario;
pub(crate) const SCENARIO: Scenario = Scenario {
    name: "keys",
    title: "keys",
    method: "",
    run: |_| Ok(Vec::new()),
    plot: None,
};
