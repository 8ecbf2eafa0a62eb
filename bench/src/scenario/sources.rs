use super::Scenario;
pub(crate) const SCENARIO: Scenario = Scenario {
    name: "sources",
    title: "sources",
    method: "",
    run: |_| Ok(Vec::new()),
    plot: None,
};
