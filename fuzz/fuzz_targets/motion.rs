#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| streamd_fuzz::targets::motion::run(data));
