//! A kind cluster: made, interrupted at random moments, removed, and nothing left of it.
//!
//! `KIND_NODE_IMAGE` and `KIND_REGISTRY_IMAGE` name images that are there, on machines that pull none.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gameday_tests::{Place, kill};
use serde_json::Value;

/// How long making a cluster may take on a machine that has something else to do as well.
const MADE_WITHIN_SECONDS: u64 = 40;
/// How many times it is interrupted.
const INTERRUPTIONS: u64 = 10;

#[test]
#[ignore = "needs kind and Docker: cargo test -p gameday-tests --test kind -- --ignored"]
fn whatever_interrupts_up_the_next_up_or_down_just_works() {
    let place = Place::new();
    let name = format!("interrupted-{}", std::process::id());
    let command = |verb: &str| ["cluster", verb, "--cluster", "kind", "--name", &name].map(str::to_owned);
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    for round in 0..INTERRUPTIONS {
        let after = Duration::from_millis(random(seed, round) % (MADE_WITHIN_SECONDS * 1000));
        let mut up = place.xtask(command("up")).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let ended = ends_within(&mut up, after);
        kill_unless(&mut up, ended);
        println!("round {round}: interrupted after {after:?}, it had {}", if ended { "ended" } else { "not ended" });
        if random(seed, round + INTERRUPTIONS).is_multiple_of(2) {
            place.run(command("down")).expect_code(0);
            assert_eq!(left(&place, &name), Vec::<String>::new(), "round {round}");
        }
    }
    place.run(command("up")).expect_code(0);
    let told = place.run([&command("status")[..], &["--output".to_owned(), "json".to_owned()]].concat());
    let told: Value = serde_json::from_str(&told.expect_code(0).stdout).unwrap();
    assert_eq!(told["made"], true);
    place.run(command("up")).expect_code(0);
    place.run(command("down")).expect_code(0);
    assert_eq!(left(&place, &name), Vec::<String>::new());
    let again = place.run(command("down")).expect_code(0);
    assert_eq!(again.stdout, format!("kind cluster `{name}` did not run\n"));
}

/// A number that looks random and is the same for the same seed.
fn random(seed: u64, index: u64) -> u64 {
    let mixed = (seed ^ index.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed ^ (mixed >> 29)
}

fn ends_within(child: &mut std::process::Child, within: Duration) -> bool {
    let deadline = Instant::now() + within;
    while Instant::now() < deadline {
        if child.try_wait().expect("the child is ours").is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

fn kill_unless(child: &mut std::process::Child, ended: bool) {
    if !ended {
        kill(child);
    }
}

/// Containers of the cluster, and files about it.
fn left(place: &Place, name: &str) -> Vec<String> {
    let containers =
        Command::new("docker").args(["ps", "--all", "--format", "{{.Names}}"]).output().expect("docker is installed");
    let containers = String::from_utf8(containers.stdout).expect("names are text");
    let mut left: Vec<_> = containers.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect();
    let files = std::fs::read_dir(place.path().join("state/gameday/kind")).into_iter().flatten().flatten();
    left.extend(files.map(|file| file.path().display().to_string()).filter(|file| file.contains(name)));
    left
}
