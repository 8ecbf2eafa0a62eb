//! Invitations, which `knock import` reads.

use knockd_credentials::invitation::Invitation;

/// An invitation that is written again is the same.
pub(crate) fn run(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    let Ok(read) = text.parse::<Invitation>() else {
        return;
    };
    let uri = read.to_uri();
    let again: Invitation = uri.parse().expect("what was written is an invitation");
    assert_eq!(again.client, read.client);
    assert_eq!(again.host, read.host);
    assert_eq!(again.window.base(), read.window.base());
    assert_eq!(again.server, read.server);
    assert_eq!(again.udp, read.udp);
    assert!(again.key == read.key, "the keys differ");
}
