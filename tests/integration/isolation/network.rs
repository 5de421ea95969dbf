//! `sandbox.network = false`.

use super::*;

/// A server in the tool itself, and one of the test's.
const OWN: &str = "import socket; s=socket.create_server((\"127.0.0.1\",0)); socket.create_connection(s.getsockname())";

#[test]
fn without_a_network_the_tools_have_their_own_loopback_and_nothing_else() {
    const TEST: &str = "isolation::network::without_a_network";
    if !has("python3") {
        return not_run(TEST, "no python3 here");
    }
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    for strategy in strategies(TEST) {
        let arena = Arena::new(strategy, Places::Same).unwrap();
        let script = format!("{} -c '{OWN}' && echo x >made", python());
        exec(&arena, &["sandbox.network=false"], &script).code(0);
        assert_eq!(arena.project.read("made"), "x\n", "{strategy}");
        let to_host = format!(
            "{} -c 'import socket; socket.create_connection((\"127.0.0.1\", {port}))' || {{ echo 127.0.0.1: Connection \
             refused >&2; exit 3; }}",
            python()
        );
        let ran = exec(&arena, &["sandbox.network=false"], &to_host);
        ran.code(3)
            .says("have a loopback of their own (sandbox.network = false)");
        exec(&arena, &[], &to_host).code(0);
    }
}

#[test]
fn a_tool_that_wanted_the_network_is_told_who_denied_it() {
    const TEST: &str = "isolation::network::a_tool_that_wanted";
    if !has("python3") {
        return not_run(TEST, "no python3 here");
    }
    let arena = Arena::new("auto", Places::Same).unwrap();
    let script = format!(
        "exec {} -c 'import socket; socket.create_connection((\"192.0.2.1\", 80))'",
        python()
    );
    let ran = exec(&arena, &["sandbox.network=false"], &script);
    ran.code(1).says("sandbox.network = true gives them the network");
    let free = exec(&arena, &[], "echo 'Network is unreachable' >&2; exit 1");
    assert!(!free.code(1).stderr.contains("sandbox.network"), "{}", free.stderr);
}
