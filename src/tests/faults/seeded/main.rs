//! The binary as it ships, but for what `engine::seeded` puts in when `STATECAST_SEEDED` names it.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    statecast::cli::main()
}
