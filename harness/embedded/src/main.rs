//! The embedded cluster as a program of its own; `xtask` carries the same entry.

fn main() -> std::process::ExitCode {
    let mut arguments: Vec<_> = std::env::args_os().skip(1).collect();
    // Its own processes call it the way they call any program that carries the entry.
    if arguments.first().is_some_and(|first| first == "embedded-cluster") {
        arguments.remove(0);
    }
    embedded_cluster::launch::main(&arguments)
}
