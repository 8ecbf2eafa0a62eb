//! Requests of the listener to the supervisor.

use knockd_ipc::request::Request;

/// Every request has exactly one encoding.
pub(crate) fn run(input: &[u8]) {
    if let Ok(request) = Request::from_bytes(input) {
        assert_eq!(request.to_bytes(), input, "{request:?}");
    }
}
