//! `[secrets]`: where values are, in all layers.

use super::*;

const TEXT: &str = r#"
[secrets]
TOKEN = { env = "CI_TOKEN", tools = ["a"] }
KEY = { file = "keys/signing" }
[[tool]]
name = "a"
run = ["a"]
[profile.local.secrets]
TOKEN = { file = "~/token" }
"#;

fn places(secret: &Secret) -> (Option<&str>, Option<&str>) {
    (
        secret.env.as_deref(),
        secret.file.as_deref().and_then(|path| path.to_str()),
    )
}

#[test]
fn a_profile_says_where_a_value_is_in_the_place_of_the_file() {
    let project = Project::new(TEXT).env("HOME", "/home/me");
    let secrets = project.load().config.secrets;
    assert_eq!(places(&secrets["TOKEN"]), (Some("CI_TOKEN"), None));
    let key = project.path("keys/signing");
    assert_eq!(
        places(&secrets["KEY"]),
        (None, key.to_str()),
        "below the file that wrote it"
    );

    let loaded = project.profile("local").load();
    let token = &loaded.config.secrets["TOKEN"];
    assert_eq!(places(token), (None, Some("/home/me/token")));
    assert_eq!(token.tools, Some(vec!["a".to_owned()]), "what it does not say holds");
    let origins = loaded.origins_text();
    assert!(
        origins.contains("# secrets.TOKEN.env gives way to secrets.TOKEN.file\n"),
        "{origins}"
    );
    assert!(
        origins.contains("secrets.TOKEN.file = \"~/token\"  # devshell.toml:9:18\n"),
        "{origins}"
    );
}

#[test]
fn variables_and_flags_say_where_a_value_is() {
    let loaded = Project::new(TEXT)
        .env("DEVSHELL__SECRETS__TOKEN__ENV", "OTHER")
        .set("secrets.KEY.env=KEY_OF_CI")
        .set("secrets.NEW={ env = \"NEW\" }")
        .set("secrets.TOKEN.tools=[]")
        .load();
    let secrets = &loaded.config.secrets;
    assert_eq!(places(&secrets["TOKEN"]), (Some("OTHER"), None));
    assert_eq!(places(&secrets["KEY"]), (Some("KEY_OF_CI"), None));
    assert_eq!(places(&secrets["NEW"]), (Some("NEW"), None));
    assert!(!secrets["TOKEN"].reaches("a") && secrets["NEW"].reaches("a"));
}

#[test]
fn what_is_printed_says_the_same() {
    let loaded = Project::new(TEXT).load();
    let again = Project::new(&loaded.to_toml()).load();
    assert_eq!(again.config.secrets, loaded.config.secrets);
    assert_eq!(loaded.to_json()["secrets"]["TOKEN"]["env"], "CI_TOKEN");
}

#[test]
fn a_secret_that_stays_without_a_place_is_refused() {
    let tools_only = Project::new("[profile.p.secrets]\nA = { tools = [\"a\"] }\n").profile("p");
    let shown = tools_only.faults();
    assert!(
        shown.contains("`secrets.A` has neither `env` nor `file`\n  --> devshell.toml:2:15"),
        "{shown}"
    );
    let shown = Project::new("").set("secrets.A={}").faults();
    assert!(shown.contains("`secrets.A` has neither `env` nor `file`"), "{shown}");
}

#[test]
fn a_contradiction_is_shown_where_the_value_is_said_to_be_now() {
    let text = format!("{TEXT}[profile.local.env]\nTOKEN = \"none\"\n");
    let shown = Project::new(&text).env("HOME", "/home/me").profile("local").faults();
    assert!(
        shown.contains("`secrets.TOKEN` and `env.TOKEN` are the same variable\n  --> devshell.toml:9:18"),
        "{shown}"
    );
    assert!(shown.contains("the other is at devshell.toml:11:9"), "{shown}");
}

#[test]
fn a_value_that_is_written_in_the_place_of_a_secret_is_not_repeated() {
    for given in [
        "secrets.NPM=hunter22",
        "secrets.NPM=\"hunter22\"",
        "secrets.NPM='hunter22",
        "secrets=hunter22",
    ] {
        let shown = Project::new("").set(given).faults();
        assert!(
            !shown.contains("hunter22") && shown.contains("********"),
            "{given}: {shown}"
        );
    }
    let shown = Project::new("").env("DEVSHELL__SECRETS__NPM", "hunter22").faults();
    assert!(!shown.contains("hunter22") && shown.contains("********"), "{shown}");
}

#[test]
fn the_users_file_holds_no_secrets() {
    let project = Project::new("");
    fs::create_dir(project.path("devshell")).unwrap();
    fs::write(project.path("devshell/config.toml"), "[secrets]\nA = { env = \"A\" }\n").unwrap();
    let home = project.path("").into_os_string().into_string().unwrap();
    let shown = project.env("XDG_CONFIG_HOME", &home).faults();
    assert!(
        shown.contains("`secrets` does not belong in the user's file"),
        "{shown}"
    );
}
