//! Guests that try to get at files beside their volumes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use support::breakout::{GENERATIONS, assert_lines, attempts};
use support::wharf;

/// What may work, and what comes of it. A line that says "DID IT" and is not here is an escape, whatever the golden
/// file says.
const MAY: &[(&str, &[&str])] = &[
    // To read what stands in a volume, by names and links that stay in it.
    ("read \"inside\"", &["read:box/inside", "read:box/a/../inside", "read:box/good-link"]),
    ("read \"inner\"", &["read:box/a/inner"]),
    ("read \"hello\"", &["read:ro/hello.txt"]),
    ("listed [\"inner\"]", &["list:ro/dir", "list:box/a"]),
    // To change what stands in a volume that may be changed.
    ("wrote 6 bytes", &["write:box/inside"]),
    ("wrote through a stream", &["write:box/inside"]),
    ("made a link, and read through it \"broken\"", &["symlink-read:box/new:inside"]),
    ("renamed, and back: done", &["rename:box/x:box/z"]),
    ("linked, and read through it: Ok(\"x\")", &["link-nofollow:box/x:box/z"]),
    // To move things between two volumes that both may be changed.
    ("linked, and read through it: Ok(\"x\")", &["link-nofollow:box/x:other/x"]),
    ("renamed, and back: done", &["rename:box/x:other/x", "rename:other/y:box/y"]),
    // What is known of a link itself: how long its text is, and its text unless that is an absolute path of the host's.
    ("size OF ITS TEXT", &["stat-nofollow:box/abs-file"]),
    ("size 4", &["stat-nofollow:box/abs"]),
    ("size 9", &["stat-nofollow:box/out"]),
    ("size 10", &["stat-nofollow:box/outdir", "stat-nofollow:box/chain"]),
    ("size 15", &["stat-nofollow:box/proc-root"]),
    ("size 24", &["stat-nofollow:box/dangling"]),
    ("it leads to \"../secret\"", &["readlink:box/out"]),
    ("it leads to \"../outside\"", &["readlink:box/outdir"]),
    ("it leads to \"loop/../..\"", &["readlink:box/chain"]),
    ("it leads to \"../made-through-dangling\"", &["readlink:box/dangling"]),
    ("set times", &["set-times-nofollow:box/out"]),
    ("hashed", &["hash-nofollow:box/out"]),
    // A second name of a link, which leads nowhere more than the first.
    ("linked, and read through it: Err(\"loop\")", &["link-nofollow:box/out:box/stolen"]),
    // A link that leads out may be made as long as it is relative; it may not be followed.
    (
        "made a link",
        &[
            "symlink:box/new:../secret",
            "symlink:box/new:a/../../secret",
            "symlink:box/new:../outside/secret",
            "symlink:box/new:out",
            "symlink:box/new:outdir/secret",
            "symlink:box/new:../../../../../../../../etc/passwd",
        ],
    ),
    // A folder that was opened to read is no less one of a volume that may be changed. WASI has no other check.
    ("create in a folder that was opened to read", &["reading-create:box/a"]),
    ("mkdir in a folder that was opened to read", &["reading-mkdir:box/a"]),
    ("unlink in a folder that was opened to read", &["reading-unlink:box/a"]),
    // To open is not to change: `open-mutate:ro/dir` opens as well, and then is refused the change.
    ("reopen in a folder that was opened to read", &["reading-reopen:box/a", "reading-reopen:ro/dir"]),
    // These change nothing of a file.
    ("synchronized", &["fd-sync:ro/hello.txt"]),
    ("synchronized data", &["fd-sync-data:ro/hello.txt"]),
    ("advised", &["fd-advise:ro/hello.txt"]),
    // No flag says that what is read-only may be changed.
    ("has DescriptorFlags(READ | MUTATE_DIRECTORY)", &["flags-volume:box/"]),
    ("has DescriptorFlags(READ)", &["flags-volume:ro/"]),
    ("opened to read, has DescriptorFlags(READ)", &["flags:box/a", "flags:ro/dir", "flags:ro/hello.txt"]),
    ("opened to change it, has DescriptorFlags(READ)", &["flags-mutate:box/a", "flags-mutate:ro/dir"]),
];

/// What a guest is let loose on: volumes `box`, `ro` and `other`, and around them what is none of its business.
fn prepare(folder: &Path) {
    for name in ["box/a", "other/a", "ro/dir", "outside"] {
        std::fs::create_dir_all(folder.join(name)).unwrap();
    }
    let files = [
        // Whoever reads one of these through a hole prints what the test looks for.
        ("secret", "the secret"),
        ("outside/secret", "the secret"),
        ("box/inside", "inside"),
        ("box/a/inner", "inner"),
        ("box/x", "x"),
        ("other/y", "y"),
        ("ro/hello.txt", "hello"),
        ("ro/dir/inner", "inner"),
    ];
    for (name, text) in files {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let absolute = folder.join("secret");
    let links = [
        ("inside", "box/good-link"),
        ("../secret", "box/out"),
        (absolute.to_str().unwrap(), "box/abs-file"),
        ("/etc", "box/abs"),
        ("../outside", "box/outdir"),
        (".", "box/loop"),
        ("loop/../..", "box/chain"),
        ("/proc/self/root", "box/proc-root"),
        // To create a file through it is to create one outside.
        ("../made-through-dangling", "box/dangling"),
        ("../box/inside", "ro/link-to-box"),
    ];
    for (to, name) in links {
        symlink(to, folder.join(name)).unwrap();
    }
}

/// All that there is to know of a file, a folder or a link.
fn about(path: &Path, metadata: &Metadata) -> String {
    let what = if metadata.is_symlink() {
        std::fs::read_link(path).unwrap().display().to_string()
    } else if metadata.is_dir() {
        "a folder".to_owned()
    } else if metadata.is_file() {
        format!("{:?}", std::fs::read(path).unwrap())
    } else {
        "neither of the three".to_owned()
    };
    let (mode, owner, links) = (metadata.mode(), (metadata.uid(), metadata.gid()), metadata.nlink());
    format!("{mode:o} {owner:?} links {links} changed {}.{}: {what}", metadata.mtime(), metadata.mtime_nsec())
}

/// Everything in a folder but for what is in `box` and `other`, and what attempts name by absolute paths.
fn everything_else(folder: &Path) -> BTreeMap<PathBuf, String> {
    let absolute = ["/etc/passwd", "/tmp/x", "/tmp/new", "/tmp/made-outside"];
    let mut open: Vec<_> = absolute.iter().map(PathBuf::from).chain([folder.to_owned()]).collect();
    let mut found = BTreeMap::new();
    while let Some(path) = open.pop() {
        let Ok(metadata) = path.symlink_metadata() else { continue };
        // What stands in these two is the guest's to change, and with it their times and links.
        if path == folder.join("box") || path == folder.join("other") {
            found.insert(path, String::new());
            continue;
        }
        if metadata.is_dir() && path.starts_with(folder) {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        found.insert(path.clone(), about(&path, &metadata));
    }
    found
}

/// Lets a guest loose on a new folder, with all its attempts on files.
fn on_files(generation: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    prepare(&folder);
    let volume = |name: &str, how: &str| format!("{}::/{name}{how}", folder.join(name).display());
    let volumes = [volume("box", ""), volume("ro", "::ro"), volume("other", "")];
    let grants: Vec<_> = volumes.iter().flat_map(|volume| ["--dir", volume]).collect();
    let before = everything_else(&folder);
    let lines = attempts(wharf(), generation, &grants, &[]);
    assert_eq!(everything_else(&folder), before, "{generation} changed what is not its own");
    for volume in ["box", "other"] {
        for name in ["stolen", "up", "dir", "hello.txt", "secret", "passwd"] {
            let path = folder.join(volume).join(name);
            let is_link = path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
            assert!(!path.exists() || is_link, "{generation} made {volume}/{name}");
        }
    }
    // The folder's name is another each time.
    let size = format!("size {}", folder.join("secret").to_str().unwrap().len());
    lines
        .iter()
        .map(|line| if line.contains("abs-file") { line.replace(&size, "size OF ITS TEXT") } else { line.clone() })
        .collect()
}

#[test]
fn no_file_outside_of_the_volumes_is_read_or_changed() {
    for generation in GENERATIONS {
        let lines = on_files(generation);
        let may: BTreeSet<String> = MAY
            .iter()
            .flat_map(|(outcome, all)| all.iter().map(move |it| format!("{it}\tDID IT: {outcome}")))
            .collect();
        for line in &lines {
            assert!(!line.contains("the secret"), "{generation}: {line}");
            assert!(line.contains("\trefused: ") || may.contains(line), "{generation} must not: {line}");
            assert!(!line.contains("no-such-attempt") && !line.contains("no volume"), "it was not tried: {line}");
        }
        // If the guest found nothing at all to do, what it was refused would say little.
        let did = lines.iter().filter(|line| may.contains(*line)).count();
        assert_eq!(did, may.len() - 1, "{generation} did all that it may (it writes in one of two ways)");
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/breakout/files-{generation}.txt"));
        let table = lines.join("\n") + "\n";
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&golden, &table).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap();
        let expected: Vec<_> = expected.lines().map(str::to_owned).collect();
        assert_lines(&lines, &expected, generation);
    }
}
