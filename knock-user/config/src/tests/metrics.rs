use super::*;

/// [`GOOD`] with metrics at `listen`.
fn listening(listen: &str) -> String {
    format!("{GOOD}\n[metrics]\nlisten = {listen}\n")
}

#[test]
fn metrics_are_off_unless_an_address_is_given() {
    let folder = Folder::new();
    assert_eq!(folder.load(GOOD).unwrap().metrics, None);
    for listen in ["127.0.0.1:9811", "[::1]:9811", "0.0.0.0:1"] {
        let config = folder.load(&listening(&format!("{listen:?}"))).unwrap();
        assert_eq!(config.metrics.unwrap().listen, listen.parse().unwrap());
    }
}

#[test]
fn what_is_no_address_with_a_port_is_refused() {
    let folder = Folder::new();
    for listen in [
        "127.0.0.1",
        ":9811",
        "localhost:9811",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "",
    ] {
        let error = folder.error(&listening(&format!("{listen:?}")));
        let expected = "listen: this is not an address with a port";
        assert!(error.contains(expected), "{listen}: {error}");
    }
    let error = folder.error(&format!("{GOOD}\n[metrics]\n"));
    assert!(error.contains("missing field `listen`"), "{error}");
    let error = folder.error(&listening("\"127.0.0.1:9811\"\nport = 1"));
    assert!(error.contains("unknown field `port`"), "{error}");
}
