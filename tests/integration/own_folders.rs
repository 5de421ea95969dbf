//! devshell's own folders where they cannot be what they are to be, and what is said of that.

use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::Project;

#[test]
fn what_stands_in_the_place_of_devshells_folders_ends_a_run_before_its_tools() {
    let project = Project::new("");
    let outside = project.beside("ran");
    let touch = outside.to_str().unwrap();
    let key = || {
        let mut keys = std::fs::read_dir(project.beside("state/devshell")).unwrap();
        keys.next().unwrap().unwrap().path()
    };
    project
        .devshell(&["exec", "--", "sh", "-c", "echo x > x; false"])
        .code(1);
    let (results, state, cache) = (key().join("results"), project.beside("state"), project.beside("cache"));
    let link = |at: &Path| {
        std::fs::remove_dir_all(at).unwrap();
        symlink(project.beside("nowhere"), at).unwrap();
    };
    let refused = |what: &str, said: &str| {
        let set = "vm.host.strategy=copy";
        let ran = project.devshell(&["exec", "--set", set, "--", "touch", touch]);
        ran.code(74).says(what).says(said).says("class=sync");
        assert!(!outside.exists(), "{what}: a tool was started");
    };
    std::fs::remove_dir_all(&results).unwrap();
    std::fs::write(&results, "").unwrap();
    refused("devshell's state folder", "results` is no folder: move it away");
    let nothing = format!(
        "is a link to `{}`, where there is nothing",
        project.beside("nowhere").display()
    );
    link(&state);
    refused("devshell's state folder", &nothing);
    let doctor = project.devshell(&["doctor"]);
    assert!(doctor.code(69).out().contains(&nothing), "{}", doctor.out());
    std::fs::remove_file(&state).unwrap();
    link(&cache);
    refused("devshell's cache folder", &nothing);
    // Nothing is copied there.
    project.devshell(&["exec", "--", "touch", touch]).code(0);
    assert!(outside.exists());
}
