//! What a daemon costs on which nobody knocks.

use std::{thread, time::Duration};

use anyhow::Result;

use super::{Context, Scenario};
use crate::{
    lab::Lab,
    peer::Subject,
    record::{Measurement, Unit},
};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "idle",
    title: "A daemon on which nobody knocks",
    method: "All daemons side by side, each after one knock whose door has closed again, without \
             any traffic for a minute (ten seconds with --quick). A wakeup is a voluntary context \
             switch of any thread of any of its processes; memory is what these have resident, a \
             page that several share divided among them.",
    run,
    plot: None,
};

const SUBJECTS: [Subject; 4] = [
    Subject::Sealed,
    Subject::Jvinet,
    Subject::FwknopUdp,
    Subject::FwknopPcap,
];

/// What the first knock has left to be done is done by then: its door was open for a second, and
/// threads that helped wait ten seconds for more work before they end.
const SETTLES: Duration = Duration::from_secs(12);

const MIB: f64 = 1024.0 * 1024.0;

#[expect(clippy::cast_precision_loss, reason = "far less than 2^52")]
fn run(context: &Context) -> Result<Vec<Measurement>> {
    let mut daemons = Vec::new();
    for subject in SUBJECTS {
        let lab = Lab::new(context.out())?;
        let daemon = subject.start(context, &lab.pair.server, &lab.site, &lab.sender)?;
        daemons.push((subject, lab, daemon));
    }
    thread::sleep(SETTLES);
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
            Measurement::new("CPU, of one processor", name, Unit::Percent, &[share]),
            Measurement::new("memory", name, Unit::Bytes, &[memory]),
        ];
        let all = match subject {
            Subject::Sealed => {
                let [wakes, cpu, resident] = all;
                [
                    wakes.target("none", used.wakeups == 0),
                    cpu,
                    resident.target("≤ 12 MiB", memory <= 12.0 * MIB),
                ]
            }
            // Not all of them have figures to be a multiple of.
            _ => all,
        };
        for (table, measurement) in tables.iter_mut().zip(all) {
            table.push(measurement);
        }
    }
    Ok(tables.into_iter().flatten().collect())
}
