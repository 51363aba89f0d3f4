//! Memory protection: keeps tokens and keys in memory from everybody but root.

use nix::sys::resource::{Resource, setrlimit};

/// Disables core dumps, debuggers and `/proc/PID/mem` for other processes of the same user. Errors are
/// ignored: support depends on the system, and no run depends on it.
pub fn seal_memory() {
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_dumpable(false);
}
