//! The folders of Node scripts that tests drive.

use std::path::{Path, PathBuf};

/// `tests/NAME`, with what it depends on installed.
pub fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name);
    let installed = folder.join("node_modules").exists();
    assert!(installed, "tests/{name}/node_modules is not there; npm --prefix tests/{name} ci");
    folder
}
