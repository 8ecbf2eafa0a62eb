//! Idle daemons.

use std::{thread, time::Duration};

use anyhow::Result;

use super::definition::Scenario;
use crate::{
    context::Context,
    lab::Lab,
    peer::Subject,
    record::{Measurement, Unit},
};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "idle",
    title: "Idle daemon",
    method: "All daemons run at the same time without traffic for one minute (10 s with `--quick`). \
             Before that, each daemon accepts one knock and closes the door again. A wakeup is a \
             voluntary context switch of a thread of the daemon. Memory is the proportional set \
             size (PSS) of all processes of the daemon.",
    run,
    plot: None,
};

const SUBJECTS: [Subject; 4] = [
    Subject::Syn,
    Subject::Jvinet,
    Subject::FwknopUdp,
    Subject::FwknopPcap,
];

/// By then, all work for the first knock is done: its door closes after one second, and idle
/// threads of a thread pool terminate after ten seconds.
const SETTLING_TIME: Duration = Duration::from_secs(12);

const MIB: f64 = 1024.0 * 1024.0;

#[expect(clippy::cast_precision_loss, reason = "far less than 2^52")]
fn run(context: &Context) -> Result<Vec<Measurement>> {
    let mut daemons = Vec::new();
    for subject in SUBJECTS {
        let lab = Lab::new(context.out())?;
        let daemon = subject.start(context, &lab.pair.server, &lab.site, &lab.sender)?;
        daemons.push((subject, lab, daemon));
    }
    thread::sleep(SETTLING_TIME);
    let time = Duration::from_secs(context.effort.pick(10, 60));
    let before: Vec<_> = daemons
        .iter()
        .map(|(_, _, daemon)| daemon.usage())
        .collect::<Result<_>>()?;
    thread::sleep(time);
    let mut tables = [Vec::new(), Vec::new(), Vec::new()];
    for ((subject, _, daemon), before) in daemons.iter().zip(before) {
        let used = daemon.usage()?.since(before);
        let wakeups = used.wakeups as f64 / time.as_secs_f64();
        let share = used.cpu.as_secs_f64() / time.as_secs_f64() * 100.0;
        let memory = used.memory as f64;
        let name = subject.name();
        let all = [
            Measurement::new("wakeups", name, Unit::PerSecond, &[wakeups]),
            Measurement::new("CPU usage (of one CPU)", name, Unit::Percent, &[share]),
            Measurement::new("memory (PSS)", name, Unit::Bytes, &[memory]),
        ];
        let all = match subject {
            Subject::Syn => {
                let [wakes, cpu, resident] = all;
                [
                    wakes.target("none", used.wakeups == 0),
                    cpu,
                    resident.target("≤ 12 MiB", memory <= 12.0 * MIB),
                ]
            }
            // A ratio would divide by figures that can be zero.
            _ => all,
        };
        for (table, measurement) in tables.iter_mut().zip(all) {
            table.push(measurement);
        }
    }
    Ok(tables.into_iter().flatten().collect())
}
