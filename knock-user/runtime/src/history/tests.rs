use std::{fs, net::IpAddr, os::unix::fs::PermissionsExt as _, time::Duration};

use knockd_types::history::{Accepted, Closed, How, Moment, Via};
use proptest::prelude::*;

use super::*;

const TIME: Moment = Moment::from_unix_ms(1_800_000_000_123);

fn accepted(number: u32) -> Accepted {
    Accepted {
        time: TIME.after(Duration::from_secs(number.into())),
        client: "laptop".into(),
        door: "ssh".into(),
        source: std::net::Ipv4Addr::from_bits(number).into(),
        sender: None,
        until: TIME.after(Duration::from_secs(u64::from(number) + 30)),
        via: Some(Via::Datagram),
        left_out: 0,
    }
}

fn line(record: &Record) -> Vec<u8> {
    let mut line = serde_json::to_vec(record).unwrap();
    line.push(b'\n');
    line
}

fn opened(number: u32) -> Vec<u8> {
    line(&Record::Opened(accepted(number)))
}

/// The numbers of the knocks in the files.
fn numbers(dir: &Path) -> Vec<u32> {
    let number = |knock: Knock| match knock.accepted.source {
        IpAddr::V4(source) => source.to_bits(),
        IpAddr::V6(_) => panic!("{knock:?}"),
    };
    read(dir).unwrap().into_iter().map(number).collect()
}

#[test]
fn what_was_appended_is_read_and_the_files_belong_to_their_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("state");
    assert_eq!(read(&dir).unwrap(), []);
    append(&dir, &opened(1), 1000).unwrap();
    append(&dir, &[opened(2), opened(3)].concat(), 1000).unwrap();
    assert_eq!(numbers(&dir), [1, 2, 3]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&dir), mode(&dir.join(FILE))), (0o700, 0o600));
}

#[test]
fn the_longest_records_of_a_knock_are_not_longer_than_stated() {
    let name = "\"".repeat(64);
    let source: IpAddr = "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap();
    let time = Moment::from_unix_ms(u64::MAX);
    let longest = [
        Record::Extended(Accepted {
            time,
            client: name.clone(),
            door: name.clone(),
            source,
            sender: Some(source),
            until: time,
            via: Some(Via::Datagram),
            left_out: u64::MAX,
        }),
        Record::Closed(Closed {
            time,
            client: name.clone(),
            door: name,
            source,
            how: How::CloseFailed,
        }),
    ];
    let len: usize = longest.iter().map(|record| line(record).len()).sum();
    assert!(len as u64 <= KNOCK_LEN, "{len}");
}

#[test]
fn two_files_have_a_bounded_length_and_keep_the_last_knocks() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let max_len = 10 * opened(1).len() as u64;
    for number in 1..=1000 {
        append(dir, &opened(number), max_len).unwrap();
        let found = numbers(dir);
        let first = found[0];
        assert_eq!(found, (first..=number).collect::<Vec<_>>());
        assert!(first <= number.saturating_sub(9).max(1), "{found:?}");
        for file in [FILE, OLD_FILE] {
            let len = fs::metadata(dir.join(file)).map_or(0, |file| file.len());
            assert!(len <= max_len, "{file}: {len}");
        }
    }
}

/// Each byte, since a disk may be full at any of them.
#[test]
fn after_a_write_that_was_torn_at_any_byte_the_next_record_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let (before, torn) = (opened(1), opened(2));
    for len in 0..=torn.len() {
        fs::write(&path, [&before, &torn[..len]].concat()).unwrap();
        append(folder.path(), &opened(3), 10_000).unwrap();
        // Without its newline it is complete.
        let expected: &[u32] = match len + 1 < torn.len() {
            true => &[1, 3],
            false => &[1, 2, 3],
        };
        assert_eq!(numbers(folder.path()), expected, "{len}");
    }
}

#[test]
fn a_line_that_is_no_record_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let garbage: [&[u8]; 5] = [
        b"\n",
        b"{}\n",
        b"{\"event\":\"opened\"}\n",
        &[0xff; 3000],
        b"\n\0\n",
    ];
    let content = garbage.map(|bytes| [bytes, &opened(1)].concat()).concat();
    fs::write(folder.path().join(FILE), content).unwrap();
    // The record after bytes without a newline is a part of their line.
    assert_eq!(numbers(folder.path()), [1; 4]);
}

#[test]
fn what_is_no_file_is_an_error_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, path) = (folder.path(), folder.path().join(FILE));
    let target = dir.join("target");
    fs::write(&target, "text").unwrap();
    std::os::unix::fs::symlink(&target, &path).unwrap();
    assert!(append(dir, &opened(1), 1000).is_err() && read(dir).is_err());
    assert_eq!(fs::read_to_string(&target).unwrap(), "text");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(append(dir, &opened(1), 1000).is_err() && read(dir).is_err());
    // It is written as soon as it can be.
    fs::remove_dir(&path).unwrap();
    append(dir, &opened(1), 1000).unwrap();
    assert_eq!(numbers(dir), [1]);
}

#[test]
fn reading_ends_at_a_record_of_which_only_a_part_is_in_the_file_yet() {
    /// A file that grows after a read that found its end.
    struct Growing(std::collections::VecDeque<Vec<u8>>);

    impl io::Read for Growing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let part = self.0.pop_front().unwrap_or_default();
            buffer[..part.len()].copy_from_slice(&part);
            Ok(part.len())
        }
    }

    let (first, second, third) = (opened(1), opened(2), opened(3));
    let (begin, rest) = second.split_at(second.len() / 2);
    let reads = [
        [&first, begin].concat(),
        Vec::new(),
        [rest, &third].concat(),
    ];
    let mut records = Vec::new();
    read_records(Growing(reads.into()), &mut records).unwrap();
    assert_eq!(records.len(), 1);
}

#[test]
fn a_reader_misses_nothing_while_the_files_are_exchanged() {
    const LAST: u32 = 3000;
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let max_len = 300 * opened(1).len() as u64;
    append(dir, &opened(1), max_len).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 2..=LAST {
                append(dir, &opened(number), max_len).unwrap();
            }
        });
        loop {
            let found = numbers(dir);
            let (first, last) = (found[0], found[found.len() - 1]);
            assert_eq!(found, (first..=last).collect::<Vec<_>>());
            if last == LAST {
                break;
            }
        }
    });
}

fn records() -> impl Strategy<Value = Record> {
    let how = prop_oneof![Just(How::Expired), Just(How::ByHand), Just(How::Revoked)];
    let name = "\\PC{1,16}";
    prop_oneof![
        (
            any::<bool>(),
            any::<u32>(),
            name,
            any::<IpAddr>(),
            any::<u64>()
        )
            .prop_map(|(extends, number, client, sender, left_out)| {
                let accepted = Accepted {
                    client,
                    sender: Some(sender),
                    left_out,
                    ..accepted(number)
                };
                match extends {
                    true => Record::Extended(accepted),
                    false => Record::Opened(accepted),
                }
            }),
        (any::<u64>(), any::<u32>(), name, how).prop_map(|(time, number, client, how)| {
            Record::Closed(Closed {
                time: Moment::from_unix_ms(time),
                client,
                door: "ssh".into(),
                source: accepted(number).source,
                how,
            })
        }),
    ]
}

proptest! {
    /// Whatever is left of a file, the records that are whole are read, and those that follow.
    #[test]
    fn any_records_are_read_up_to_any_truncation(
        records in prop::collection::vec(records(), 1..8),
        cut in any::<prop::sample::Index>(),
        next in records(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let lines: Vec<_> = records.iter().map(line).collect();
        append(folder.path(), &lines.concat(), 1 << 20).unwrap();
        prop_assert_eq!(read(folder.path()).unwrap(), knocks(records.clone()));
        let path = folder.path().join(FILE);
        let content = fs::read(&path).unwrap();
        let len = cut.index(content.len() + 1);
        fs::write(&path, &content[..len]).unwrap();
        append(folder.path(), &line(&next), 1 << 20).unwrap();
        let mut end = 0;
        let mut whole: Vec<_> = records
            .into_iter()
            .zip(&lines)
            .take_while(|(_, line)| {
                end += line.len();
                end <= len + 1
            })
            .map(|(record, _)| record)
            .collect();
        whole.push(next);
        prop_assert_eq!(read(folder.path()).unwrap(), knocks(whole));
    }
}
