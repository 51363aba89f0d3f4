//! Start-up and exit code, nothing else.

fn main() {}
