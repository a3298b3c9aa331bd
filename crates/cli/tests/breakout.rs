//! Guests that attempt to access files outside their volumes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use support::breakout::{GENERATIONS, assert_lines, attempts};
use support::wharf;

/// The attempts that may succeed, by their outcome. Any other line with "DID IT" is an escape, whatever the golden file says.
const ALLOWED: &[(&str, &[&str])] = &[
    // Reading files in a volume, by names and links that stay in it.
    ("read \"inside\"", &["read:box/inside", "read:box/a/../inside", "read:box/good-link"]),
    ("read \"inner\"", &["read:box/a/inner"]),
    ("read \"hello\"", &["read:ro/hello.txt"]),
    ("listed [\"inner\"]", &["list:ro/dir", "list:box/a"]),
    // Changing files in a writable volume.
    ("wrote 6 bytes", &["write:box/inside"]),
    ("wrote through a stream", &["write:box/inside"]),
    ("made a link, and read through it \"broken\"", &["symlink-read:box/new:inside"]),
    ("renamed, and back: done", &["rename:box/x:box/z"]),
    ("linked, and read through it: Ok(\"x\")", &["link-nofollow:box/x:box/z"]),
    // Moving files between two writable volumes.
    ("linked, and read through it: Ok(\"x\")", &["link-nofollow:box/x:other/x"]),
    ("renamed, and back: done", &["rename:box/x:other/x", "rename:other/y:box/y"]),
    // Reading a link itself: the length of its target, and the target unless it is an absolute path of the host.
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
    // A second name for a link grants no more than the first.
    ("linked, and read through it: Err(\"loop\")", &["link-nofollow:box/out:box/stolen"]),
    // Creating a relative link that leads out of the volume is allowed; following it is not.
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
    // A folder that was opened to read still belongs to a writable volume, and WASI has no further check.
    ("create in a folder that was opened to read", &["reading-create:box/a"]),
    ("mkdir in a folder that was opened to read", &["reading-mkdir:box/a"]),
    ("unlink in a folder that was opened to read", &["reading-unlink:box/a"]),
    // Opening changes nothing: `open-mutate:ro/dir` opens too, and its change is then refused.
    ("reopen in a folder that was opened to read", &["reading-reopen:box/a", "reading-reopen:ro/dir"]),
    // These do not change a file.
    ("synchronized", &["fd-sync:ro/hello.txt"]),
    ("synchronized data", &["fd-sync-data:ro/hello.txt"]),
    ("advised", &["fd-advise:ro/hello.txt"]),
    // The flags of a read-only volume never include a right to change it.
    ("has DescriptorFlags(READ | MUTATE_DIRECTORY)", &["flags-volume:box/"]),
    ("has DescriptorFlags(READ)", &["flags-volume:ro/"]),
    ("opened to read, has DescriptorFlags(READ)", &["flags:box/a", "flags:ro/dir", "flags:ro/hello.txt"]),
    ("opened to change it, has DescriptorFlags(READ)", &["flags-mutate:box/a", "flags-mutate:ro/dir"]),
];

/// Creates the volumes `box`, `ro` and `other`, and files around them that the guest must not reach.
fn prepare(folder: &Path) {
    for name in ["box/a", "other/a", "ro/dir", "outside"] {
        std::fs::create_dir_all(folder.join(name)).unwrap();
    }
    let files = [
        // A guest that reads one of these prints the text that the test looks for.
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
        // Creating a file through this link would create it outside the volume.
        ("../made-through-dangling", "box/dangling"),
        ("../box/inside", "ro/link-to-box"),
    ];
    for (to, name) in links {
        symlink(to, folder.join(name)).unwrap();
    }
}

/// Describes a file, a folder or a link in full: content, mode, owner, link count and modification time.
fn about(path: &Path, metadata: &Metadata) -> String {
    let what = if metadata.is_symlink() {
        std::fs::read_link(path).unwrap().display().to_string()
    } else if metadata.is_dir() {
        "a folder".to_owned()
    } else if metadata.is_file() {
        format!("{:?}", std::fs::read(path).unwrap())
    } else {
        "another kind of file".to_owned()
    };
    let (mode, owner, links) = (metadata.mode(), (metadata.uid(), metadata.gid()), metadata.nlink());
    format!("{mode:o} {owner:?} links {links} changed {}.{}: {what}", metadata.mtime(), metadata.mtime_nsec())
}

/// Describes everything outside the writable volumes: the folder without the contents of `box` and `other`, and the absolute
/// paths that attempts name.
fn outside(folder: &Path) -> BTreeMap<PathBuf, String> {
    let absolute = ["/etc/passwd", "/tmp/x", "/tmp/new", "/tmp/made-outside"];
    let mut open: Vec<_> = absolute.iter().map(PathBuf::from).chain([folder.to_owned()]).collect();
    let mut found = BTreeMap::new();
    while let Some(path) = open.pop() {
        let Ok(metadata) = path.symlink_metadata() else { continue };
        // The guest may change the contents of these two, and thereby their times and link counts.
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

/// Runs all attempts of a guest on files, in a new folder. Returns the lines that it prints.
fn on_files(generation: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    prepare(&folder);
    let volume = |name: &str, how: &str| format!("{}::/{name}{how}", folder.join(name).display());
    let volumes = [volume("box", ""), volume("ro", "::ro"), volume("other", "")];
    let grants: Vec<_> = volumes.iter().flat_map(|volume| ["--dir", volume]).collect();
    let before = outside(&folder);
    let lines = attempts(wharf(), generation, &grants, &[]);
    assert_eq!(outside(&folder), before, "{generation} changed files outside its volumes");
    for volume in ["box", "other"] {
        for name in ["stolen", "up", "dir", "hello.txt", "secret", "passwd"] {
            let path = folder.join(volume).join(name);
            let is_link = path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
            assert!(!path.exists() || is_link, "{generation} made {volume}/{name}");
        }
    }
    // The length of the temporary folder's path differs between runs.
    let size = format!("size {}", folder.join("secret").to_str().unwrap().len());
    lines
        .iter()
        .map(|line| if line.contains("abs-file") { line.replace(&size, "size OF ITS TEXT") } else { line.clone() })
        .collect()
}

#[test]
fn guests_neither_read_nor_change_files_outside_their_volumes() {
    for generation in GENERATIONS {
        let lines = on_files(generation);
        let allowed: BTreeSet<String> = ALLOWED
            .iter()
            .flat_map(|(outcome, all)| all.iter().map(move |it| format!("{it}\tDID IT: {outcome}")))
            .collect();
        for line in &lines {
            assert!(!line.contains("the secret"), "{generation}: {line}");
            assert!(line.contains("\trefused: ") || allowed.contains(line), "escape of {generation}: {line}");
            assert!(
                !line.contains("no-such-attempt") && !line.contains("no volume"),
                "the guest did not make the attempt: {line}"
            );
        }
        // The control: allowed attempts must succeed, otherwise refusals would prove nothing.
        let succeeded = lines.iter().filter(|line| allowed.contains(*line)).count();
        assert_eq!(
            succeeded,
            allowed.len() - 1,
            "{generation}: all allowed attempts but one of the two ways to write succeed"
        );
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
