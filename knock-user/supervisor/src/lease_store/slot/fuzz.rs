//! The fuzzing target of the lease journal.

use super::{HALF_LEN, Half, SLOT_LEN, SUM_AT, Slot, State};

/// A slot whose checksums are set right here, unless the input has fewer bytes. What is in force is in
/// the half of its number, and the next write is in force after it, also if it is torn.
pub fn run(input: &[u8]) {
    let mut bytes = [0; SLOT_LEN];
    let len = input.len().min(SLOT_LEN);
    bytes[..len].copy_from_slice(&input[..len]);
    let (halves, _) = bytes.as_chunks_mut::<HALF_LEN>();
    for half in halves {
        if half[SUM_AT..] == [0; 4] && *half != [0; HALF_LEN] {
            let sum = crc32fast::hash(&half[..SUM_AT]);
            half[SUM_AT..].copy_from_slice(&sum.to_le_bytes());
        }
    }
    let Some((slot, state)) = Slot::from_bytes(&bytes) else {
        return;
    };
    if slot != Slot::default() {
        let at = slot.half() * HALF_LEN;
        assert_eq!(bytes[at..at + HALF_LEN], Half::of(slot, &state).to_bytes());
    }
    let next = slot.next();
    // No daemon writes so often.
    if next.0 == u64::MAX {
        return;
    }
    let at = next.half() * HALF_LEN;
    let written = Half::of(next, &State::Free).to_bytes();
    let mut torn = bytes;
    torn[at..at + HALF_LEN / 2].copy_from_slice(&written[..HALF_LEN / 2]);
    let read = Slot::from_bytes(&torn);
    // A slot that is in use. In another one, the half that is not written may be damaged too.
    if slot != Slot::default() {
        assert!(read == Some((slot, state)) || read == Some((next, State::Free)));
    }
    bytes[at..at + HALF_LEN].copy_from_slice(&written);
    assert_eq!(Slot::from_bytes(&bytes), Some((next, State::Free)));
}
