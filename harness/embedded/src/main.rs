//! The embedded cluster as a program of its own; `xtask` carries the same entry.

fn main() -> std::process::ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    embedded_cluster::launch::main(&arguments)
}
