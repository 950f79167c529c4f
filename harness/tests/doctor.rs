//! `doctor`: what is examined, and what is advised.

use std::fs;

use harness::doctor;

#[test]
fn what_gate_toml_names_is_examined() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gate.toml");
    let find = |name: &str| doctor::examine(&file).into_iter().find(|finding| finding.name == name);
    assert!(!find("gate.toml").unwrap().ok, "it is absent");
    assert!(find("toolchain").unwrap().ok);

    let system = "name='s'\nnamespace='s'\nmanifests='m'\nscenarios='c'\nversion='2'\nprevious-version='1'";
    let image = "host-binaries=['no-such-program']\nentrypoint=['x']";
    fs::write(&file, format!("[system]\n{system}\n[images.a]\n{image}\n")).unwrap();
    assert!(find("gate.toml").unwrap().ok);
    let program = find("program `no-such-program`").unwrap();
    assert_eq!((program.ok, program.detail.as_str(), program.hint), (false, "not installed", None));
    let manifests = find("manifests, as-deployed").unwrap();
    assert!(!manifests.ok && manifests.detail.contains("read manifests"), "{manifests:?}");
    assert!(find("disk space for images").is_some());
    assert!(find("namespaces").is_some(), "what the embedded cluster needs is examined too");
}
