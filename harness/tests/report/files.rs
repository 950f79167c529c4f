//! Reports as files.

use std::fs;

use harness::report::{self, Report};
use harness::run::files;

#[test]
fn four_files_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("run");
    let (old, new) = (Report::of(&crate::torn()), Report::of(&crate::green()));
    files::write(&old, &[], &place).unwrap();
    files::write(&new, &[], &place).unwrap();
    let mut names: Vec<_> = fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["junit.xml", "report.html", "report.json", "report.md"]);
    assert_eq!(fs::read_to_string(place.join("report.json")).unwrap(), report::json(&new));
    assert_eq!(fs::read_to_string(place.join("report.md")).unwrap(), report::markdown(&new));
    assert_eq!(fs::read_to_string(place.join("junit.xml")).unwrap(), report::junit(&new));
    assert_eq!(fs::read_to_string(place.join("report.html")).unwrap(), report::html(&new, &[]));
}

#[test]
fn what_cannot_be_written_is_named() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("report.md")).unwrap();
    let error = files::write(&Report::of(&[]), &[], directory.path()).unwrap_err();
    assert_eq!(error.path, directory.path().join("report.md"));
    let in_the_way = directory.path().join("report.json");
    let error = files::write(&Report::of(&[]), &[], &in_the_way).unwrap_err();
    assert_eq!(error.to_string(), format!("write report `{}`", in_the_way.display()));
    let left = fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(left, 2, "report.json and the directory in the way, and no temporary file");
}
