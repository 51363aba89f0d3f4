//! Seals the process's memory, which holds tokens and keys, from everybody but root.

use nix::sys::resource::{Resource, setrlimit};

/// No dump of the memory when the process crashes, and none of it for other processes of the same user: no debugger can attach, and
/// `/proc/PID/mem` is root's. What cannot be done is left: it depends on the system, and no run depends on it.
pub fn seal_memory() {
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_dumpable(false);
}
