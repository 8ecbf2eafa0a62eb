//! The fuzzing target of the replay store's file.

use std::cell::RefCell;

use super::{CONTENT_LEN, Content, MAX_BATCH, RECORD_LEN, Record, SLOTS, parse, place};

thread_local! {
    /// The content of the file, all zero between two runs.
    static CONTENT: RefCell<Vec<u8>> = RefCell::new(vec![0; CONTENT_LEN]);
}

/// A file with the records and the damage that `input` describes. If it can be read, then also
/// together with the next knock, which comes last.
pub fn run(input: &[u8]) {
    CONTENT.with_borrow_mut(|content| {
        let changed = write(content, input);
        let more = continue_with(content, &knock(1));
        for place in changed.into_iter().chain(more) {
            content[place..place + RECORD_LEN].fill(0);
        }
    });
}

/// A number in eight bytes, and then in three bytes each a kind, and the distance of a record from the
/// record with that number. Returns the places that were written.
fn write(content: &mut [u8], input: &[u8]) -> Vec<usize> {
    let Some((first, steps)) = input.split_first_chunk() else {
        return Vec::new();
    };
    let mut number = u64::from_le_bytes(*first);
    let mut changed = Vec::new();
    let (steps, _) = steps.as_chunks();
    for [kind, low, high] in steps {
        let distance = u64::from(u16::from_le_bytes([*low, *high]));
        let run = match kind % 4 {
            // A batch, whose records follow each other.
            0 => distance % (2 * MAX_BATCH as u64),
            // As many as fill the ring.
            1 => distance + distance / 8,
            // A torn record.
            2 => 0,
            _ => {
                number = number.wrapping_add(distance);
                continue;
            }
        };
        if run == 0 {
            changed.push(place(number));
            content[place(number) + 20] ^= low | 1;
        }
        for _ in 0..run {
            changed.push(place(number));
            put(content, number, &knock(u64::from(*kind)));
            number = number.wrapping_add(1);
        }
    }
    changed
}

fn knock(made_at: u64) -> Record {
    let id = [3; 16];
    let horizon = 0;
    Record {
        made_at,
        id,
        horizon,
    }
}

fn put(content: &mut [u8], number: u64, record: &Record) {
    let place = place(number);
    content[place..place + RECORD_LEN].copy_from_slice(&record.to_bytes(number));
}

/// Appends `record` as a [`Journal`](super::Journal) does. Returns the places that were written.
fn continue_with(content: &mut [u8], record: &Record) -> Vec<usize> {
    let Ok(Content {
        records,
        next,
        is_torn,
    }) = parse(content)
    else {
        return Vec::new();
    };
    assert!(records.len() as u64 <= SLOTS.min(next - 1));
    // No daemon writes so often.
    if next > u64::MAX - SLOTS {
        return Vec::new();
    }
    let mut changed = vec![place(next)];
    if is_torn {
        changed = (next..next + MAX_BATCH as u64).map(place).collect();
        for place in &changed {
            content[*place..place + RECORD_LEN].fill(0);
        }
    }
    put(content, next, record);
    let content = parse(content).expect("a record more makes no damage");
    assert_eq!(content.next, next + 1);
    assert_eq!(content.records.last(), Some(record));
    assert!(content.records.ends_with(&[*record]) && !content.is_torn);
    changed
}
