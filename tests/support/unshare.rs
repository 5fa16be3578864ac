//! Namespaces of a test's own.

use std::process::Command;

/// Has `command` run a script in namespaces of its own, by `unshare`'s words; what is given to it after
/// that is the script's `$0`, `$1` and so on.
pub fn begin(command: &mut Command, namespaces: &str, script: &str) {
    let mounts = namespaces.split(' ').any(|word| word.starts_with('-') && word.contains('m'));
    let private = || Command::new("unshare").args(["-m", "true"]).output();
    command.arg("unshare");
    if !mounts || private().is_ok_and(|out| out.status.success()) {
        command.args(namespaces.split(' ')).args(["sh", "-c", script]);
        return;
    }
    // the root is a folder of another system and no mount of its own (chroot): it is made one, after the
    // mount that it is in was made the namespace's own, so that the others see nothing of it; its processes
    // are shown once that is done
    let (words, shown) = (namespaces.split(' '), namespaces.contains("--mount-proc"));
    let words = words.filter(|word| *word != "--mount-proc");
    let proc = if shown { "mount -t proc proc /proc && " } else { "" };
    let root = "perl -e 'chdir \"/\"; chroot \"/mnt\"; chdir \"..\" for 1 .. 99; chroot \".\"; \
                exec qw(mount --make-rprivate /)' && \
                mount --rbind / /mnt && exec chroot /mnt sh -c \"$0\" \"$@\"";
    let here = std::env::current_dir().unwrap();
    command.args(["--propagation", "unchanged"]).args(words);
    command.args(["sh", "-c", root]).arg(format!("{proc}cd '{}' && {script}", here.display()));
}
