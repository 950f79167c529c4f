//! The Python client `kubernetes` finds in the embedded cluster what it relies on in any.

use std::path::Path;
use std::process::Command;

use gameday_tests::{Ended, Place, project, tell};
use serde_json::Value;

/// The interpreter: one in whose packages `kubernetes` is, such as a virtual environment's.
const VARIABLE: &str = "GAMEDAY_PYTHON";

/// The image whose shell the checks use: built and pushed, as a manifest names it.
fn image(place: &Place) -> String {
    let pushed = place.run(["push", "--output", "json"]).expect_code(0).stdout;
    let pushed: Value = serde_json::from_str(&pushed).expect("what was pushed is JSON");
    let images: Vec<_> = pushed["images"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let backend = images.iter().find(|image| image.contains("hsc-jit-backend"));
    (*backend.unwrap_or_else(|| panic!("no backend in {images:?}"))).to_owned()
}

#[test]
fn the_python_client_finds_what_it_relies_on() {
    let python = std::env::var_os(VARIABLE).unwrap_or_else(|| "python3".into());
    let has_client = Command::new(&python).args(["-c", "import kubernetes"]).output();
    if !has_client.is_ok_and(|tried| tried.status.success()) {
        let python = Path::new(&python).display();
        tell(&format!("skipped: Python client: `{python} -c 'import kubernetes'` fails; {VARIABLE} can name another"));
        return;
    }
    let place = Place::new();
    let cluster = place.cluster();
    let mut checks = Command::new(&python);
    checks.arg(project().join("tests/clients/python_client.py")).arg(image(&place));
    checks.env("KUBECONFIG", cluster.kubeconfig()).env("HOME", place.path());
    let ended = Ended::of(&mut checks).expect_code(0);
    tell(ended.stdout.lines().next().unwrap_or_default());
    assert!(ended.stdout.ends_with(" 0 failed\n"), "{}", ended.stdout);
}
