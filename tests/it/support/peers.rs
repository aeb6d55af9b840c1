//! Real peers from the distribution, and the one place where a test may be skipped.

use std::io::Write as _;
use std::path::PathBuf;

/// The variable that turns every skip into a failure.
const REQUIRE_ALL: &str = "HEADGATE_TEST_REQUIRE_ALL";

/// Finds a program, or says visibly that `test` is skipped without it.
#[track_caller]
pub(crate) fn find(program: &str, test: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let found = places.map(|it| it.join(program)).find(|it| it.is_file());
    if found.is_none() {
        skip(test, program);
    }
    found
}

/// Says that a test is skipped for want of something; fails it where everything is demanded.
#[track_caller]
pub(crate) fn skip(test: &str, program: &str) {
    let demanded = std::env::var_os(REQUIRE_ALL).is_some_and(|it| it == "1");
    assert!(!demanded, "{test} needs {program}, and {REQUIRE_ALL}=1 allows no skip");
    // Written past the test harness's capture, so that it shows in every run.
    let _ = writeln!(std::io::stderr(), "SKIP: {test} needs {program}");
}
