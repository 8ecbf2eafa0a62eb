//! Answers of the listener to the metrics exporter, which does not trust it.

use knockd_ipc::metrics::{PREFIX_LEN, Snapshot, frame, frame_len};

/// The length of a frame is checked, and its content has a page.
pub(crate) fn run(input: &[u8]) {
    let Some((prefix, json)) = input.split_first_chunk::<PREFIX_LEN>() else {
        return;
    };
    let _ = frame_len(*prefix);
    if let Ok(snapshot) = serde_json::from_slice::<Snapshot>(json) {
        knockd_exporter::fuzz::page(&snapshot);
        let frame = frame(&snapshot).expect("a snapshot has a form in JSON");
        let (prefix, json) = frame.split_first_chunk().expect("a frame has a length");
        assert_eq!(frame_len(*prefix).ok(), Some(json.len()));
    }
}
