//! Arguments, then `app::run`.

fn main() -> std::process::ExitCode {
    streamd::app::main()
}
