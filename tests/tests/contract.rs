//! The contracts hold on the embedded cluster, and one that does not is told.

use gameday_tests::Place;

#[test]
fn the_embedded_cluster_keeps_every_contract() {
    let place = Place::new();
    let ended = place.run(["contract"]).expect_code(0);
    let last = ended.stdout.lines().last().unwrap_or_default();
    let passed: u32 = last.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0);
    assert!(passed >= 80 && last.ends_with(" 0 failed"), "{last}");
}

#[test]
fn a_contract_that_does_not_hold_is_red_with_what_was_seen() {
    let place = Place::new();
    // Without its image no pod of it can run: what the contract waits for never comes.
    let only = ["--filter", "exec_tells", "--within", "5"];
    let arguments = ["contract", "--image", "nobody/made:this", "--"].iter().chain(&only);
    let ended = place.run(arguments).expect_code(1);
    assert!(ended.stdout.contains("FAILED inside/exec_tells_streams_and_code"), "{}", ended.stdout);
    assert!(ended.stdout.contains("ImagePullBackOff") || ended.stdout.contains("ErrImagePull"), "{}", ended.stdout);
    assert!(ended.stdout.ends_with("0 passed, 1 failed\n"), "{}", ended.stdout);
}
