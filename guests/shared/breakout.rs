// What an escape is tried with, and the attempts on files. Included by the breakout guests, which bring `call!`, `host`
// and the types of their WASI.

/// The outcome of an attempt: what it did, or the error code of the refusal.
type Outcome = Result<String, String>;

/// Attempts on files, each `what:volume/path`, some with a second path. `%0` in a path is a NUL, `%name` a name that is
/// too long, `%path` a path that is too long.
const FILES: &[&str] = &include!("breakout-files.in");

/// Splits `box/some/path` where the volume ends, and writes out what stands for a path that cannot be an argument.
fn place(text: &str) -> (&str, String) {
    let (volume, path) = text.split_once('/').unwrap_or((text, ""));
    let path = path.replace("%0", "\0").replace("%name", &"n".repeat(300)).replace("%path", &"d/".repeat(3000));
    (volume, path)
}

/// The content of the file outside of every volume.
const SECRET: &str = "the secret";

/// Does what an attempt on files says.
async fn attempt_files(attempt: &str) -> Outcome {
    let mut parts = attempt.splitn(3, ':');
    let (what, first, second) = (parts.next().unwrap(), parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    if first.is_empty() {
        return Err("no-such-attempt".into());
    }
    let volumes = get_directories();
    let find = |name: &str| {
        let found = volumes.iter().find(|(_, its)| its.trim_matches('/') == name);
        found.map(|(volume, _)| volume).ok_or_else(|| format!("no volume {name}"))
    };
    let (volume, path) = place(first);
    let (dir, path) = (find(volume)?, path.as_str());
    let (what, follow) = match what.strip_suffix("-nofollow") {
        Some(what) => (what, PathFlags::empty()),
        None => (what, PathFlags::SYMLINK_FOLLOW),
    };
    let (read, write) = (DescriptorFlags::READ, DescriptorFlags::READ | DescriptorFlags::WRITE);
    let mutate = DescriptorFlags::READ | DescriptorFlags::MUTATE_DIRECTORY;
    let (no, folder) = (OpenFlags::empty(), OpenFlags::DIRECTORY);
    let now = || (NewTimestamp::Now, NewTimestamp::Now);
    match what {
        "read" => {
            let file = call!(dir.open_at(follow, path.into(), no, read))?;
            Ok(format!("read {:?}", host::read(&file).await?))
        }
        "open-write" => {
            call!(dir.open_at(follow, path.into(), no, write))?;
            Ok("opened to write".into())
        }
        "write" => {
            let file = call!(dir.open_at(follow, path.into(), no, write))?;
            host::write(&file).await
        }
        "create" => {
            let file = call!(dir.open_at(follow, path.into(), OpenFlags::CREATE, write))?;
            host::write(&file).await.map(|_| "created".into())
        }
        "exclusive" => {
            let file = call!(dir.open_at(follow, path.into(), OpenFlags::CREATE | OpenFlags::EXCLUSIVE, write))?;
            host::write(&file).await.map(|_| "created".into())
        }
        "truncate" => {
            call!(dir.open_at(follow, path.into(), OpenFlags::TRUNCATE, write))?;
            Ok("truncated".into())
        }
        "truncate-reading" => {
            call!(dir.open_at(follow, path.into(), OpenFlags::TRUNCATE, read))?;
            Ok("truncated".into())
        }
        "list" => {
            let inner = call!(dir.open_at(follow, path.into(), folder, read))?;
            Ok(format!("listed {:?}", host::list(&inner).await?))
        }
        // A folder that is opened to change what is in it, and then is changed.
        "open-mutate" => {
            let inner = call!(dir.open_at(follow, path.into(), folder, mutate))?;
            let made = call!(inner.create_directory_at("made".into()));
            made.map(|()| "opened to change it, and changed it".into())
                .map_err(|code| format!("{code} (after opening)"))
        }
        "flags" => {
            let inner = call!(dir.open_at(follow, path.into(), no, read))?;
            Ok(format!("opened to read, has {:?}", call!(inner.get_flags())?))
        }
        "flags-mutate" => {
            let inner = call!(dir.open_at(follow, path.into(), folder, mutate))?;
            Ok(format!("opened to change it, has {:?}", call!(inner.get_flags())?))
        }
        "flags-volume" => Ok(format!("has {:?}", call!(dir.get_flags())?)),
        // A folder that is opened to read only.
        "reading-create" | "reading-mkdir" | "reading-unlink" | "reading-reopen" | "reading-up"
        | "reading-up-secret" => {
            let inner = call!(dir.open_at(follow, path.into(), folder, read))?;
            let none = PathFlags::empty();
            match what {
                "reading-create" => call!(inner.open_at(none, "made".into(), OpenFlags::CREATE, write)).map(drop)?,
                "reading-mkdir" => call!(inner.create_directory_at("made-folder".into()))?,
                "reading-unlink" => call!(inner.unlink_file_at("inner".into()))?,
                "reading-reopen" => call!(inner.open_at(none, ".".into(), folder, mutate)).map(drop)?,
                "reading-up" => call!(inner.open_at(none, "..".into(), folder, read)).map(drop)?,
                _ => call!(inner.open_at(none, "../../secret".into(), no, read)).map(drop)?,
            }
            Ok(format!("{} in a folder that was opened to read", what.trim_start_matches("reading-")))
        }
        "stat" => Ok(format!("size {}", call!(dir.stat_at(follow, path.into()))?.size)),
        "hash" => {
            call!(dir.metadata_hash_at(follow, path.into()))?;
            Ok("hashed".into())
        }
        "readlink" => Ok(format!("it leads to {:?}", call!(dir.readlink_at(path.into()))?)),
        "mkdir" => call!(dir.create_directory_at(path.into())).map(|()| "made a folder".into()),
        "rmdir" => call!(dir.remove_directory_at(path.into())).map(|()| "removed a folder".into()),
        "unlink" => call!(dir.unlink_file_at(path.into())).map(|()| "removed a file".into()),
        "set-times" => {
            let (accessed, modified) = now();
            call!(dir.set_times_at(follow, path.into(), accessed, modified)).map(|()| "set times".into())
        }
        "rename" => {
            let (other, to) = place(second);
            let (other, to) = (find(other)?, to.as_str());
            call!(dir.rename_at(path.into(), other, to.into()))?;
            // So that the next attempt finds it where it was.
            let back = call!(other.rename_at(to.into(), dir, path.into()));
            Ok(format!("renamed, and back: {}", back.map_or_else(|code| code, |()| "done".into())))
        }
        "link" => {
            let (other, to) = place(second);
            let (other, to) = (find(other)?, to.as_str());
            call!(dir.link_at(follow, path.into(), other, to.into()))?;
            let file = call!(other.open_at(PathFlags::empty(), to.into(), no, read));
            let there = match file {
                Ok(file) => host::read(&file).await,
                Err(code) => Err(code),
            };
            let _ = call!(other.unlink_file_at(to.into()));
            Ok(format!("linked, and read through it: {there:?}"))
        }
        // The second is where the link leads.
        "symlink" => {
            call!(dir.symlink_at(second.into(), path.into()))?;
            let _ = call!(dir.unlink_file_at(path.into()));
            Ok("made a link".into())
        }
        "symlink-read" => {
            call!(dir.symlink_at(second.into(), path.into()))?;
            let file = call!(dir.open_at(follow, path.into(), no, read));
            let _ = call!(dir.unlink_file_at(path.into()));
            Ok(format!("made a link, and read through it {:?}", host::read(&file?).await?))
        }
        "symlink-create" => {
            call!(dir.symlink_at(second.into(), path.into()))?;
            let file = call!(dir.open_at(follow, path.into(), OpenFlags::CREATE, write));
            let _ = call!(dir.unlink_file_at(path.into()));
            host::write(&file?).await.map(|_| "made a link, and wrote through it".into())
        }
        "symlink-mkdir" => {
            call!(dir.symlink_at(second.into(), path.into()))?;
            let made = call!(dir.create_directory_at(format!("{path}/made").as_str().into()));
            let _ = call!(dir.unlink_file_at(path.into()));
            made.map(|()| "made a link, and a folder through it".into())
        }
        // A file that is opened to read only.
        "fd-write" | "fd-write-stream" | "fd-append-stream" | "fd-set-size" | "fd-set-times" | "fd-sync"
        | "fd-sync-data" | "fd-advise" => {
            let file = call!(dir.open_at(follow, path.into(), no, read))?;
            match what {
                "fd-write" => host::write(&file).await,
                "fd-write-stream" => host::write_stream(&file).await,
                "fd-append-stream" => host::append_stream(&file).await,
                "fd-set-size" => call!(file.set_size(1)).map(|()| "set its size".into()),
                "fd-set-times" => {
                    let (accessed, modified) = now();
                    call!(file.set_times(accessed, modified)).map(|()| "set its times".into())
                }
                "fd-advise" => call!(file.advise(0, 1, Advice::Normal)).map(|()| "advised".into()),
                "fd-sync" => call!(file.sync()).map(|()| "synchronized".into()),
                _ => call!(file.sync_data()).map(|()| "synchronized data".into()),
            }
        }
        "volume-set-times" => {
            let (accessed, modified) = now();
            call!(dir.set_times(accessed, modified)).map(|()| "set its times".into())
        }
        _ => Err("no-such-attempt".into()),
    }
}

/// Whether the secret came out, wherever it was found.
fn line(attempt: &str, outcome: &Outcome) -> String {
    match outcome {
        Ok(what) => format!("{attempt}\tDID IT: {what}{}\n", if what.contains(SECRET) { " <- the secret" } else { "" }),
        Err(code) => format!("{attempt}\trefused: {code}\n"),
    }
}

/// `1.2.3.4:80` or `[::1]:80`.
fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text} is no address"))
}

/// One attempt. What is tried on the network is `what=where`.
async fn attempt(attempt: &str) -> Outcome {
    let Some((what, with)) = attempt.split_once('=') else {
        return match attempt {
            "env" => Ok(format!("{:?}", environment::get_environment())),
            "args" => Ok(format!("{:?}", environment::get_arguments())),
            "folder" => Ok(format!("{:?}", host::initial_folder())),
            // The test may change something before the next attempt.
            "wait-input" => Ok(host::input().await),
            "volumes" => Ok(format!("{:?}", get_directories().iter().map(|(_, name)| name).collect::<Vec<_>>())),
            _ => attempt_files(attempt).await,
        };
    };
    match what {
        "tcp-connect" => host::tcp_connect(socket_address(with)?).await,
        "tcp-listen" => host::tcp_listen(Some(socket_address(with)?), with).await,
        "tcp-listen-unbound" => host::tcp_listen(None, with).await,
        // As `tcp-listen` and `udp-bind`, until a connection or a line of input arrives. Reports first that it listens.
        "tcp-hold" => host::tcp_hold(socket_address(with)?).await,
        "udp-hold" => host::udp_hold(socket_address(with)?).await,
        "udp-bind" => host::udp_bind(socket_address(with)?).await,
        "udp-send" => host::udp_send(socket_address(with)?).await,
        "udp-connect" => host::udp_connect(socket_address(with)?, None).await,
        "udp-connect-send" => {
            let (first, other) = with.split_once(',').ok_or("no second address")?;
            host::udp_connect(socket_address(first)?, Some(socket_address(other)?)).await
        }
        "lookup" => host::lookup(with).await.map(|found| format!("{found:?}")),
        "lookup-connect" => {
            let (name, port) = with.rsplit_once(':').ok_or("no port")?;
            let port = port.parse().map_err(|_| "no port")?;
            let found = host::lookup(name).await.map_err(|code| format!("{code} (look-up)"))?;
            let mut last = Err(String::from("no address"));
            for address in found {
                last = host::tcp_connect(SocketAddr::new(address, port)).await;
                if last.is_ok() {
                    break;
                }
            }
            last
        }
        _ => Err("no-such-attempt".into()),
    }
}

/// The program: a line for each attempt of the arguments, or for all attempts that need no parameter.
async fn run_attempts() {
    let arguments = environment::get_arguments();
    let mut chosen: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    if chosen == ["list"] {
        let all = ["env", "args", "folder", "volumes"].iter().chain(FILES);
        return host::print(all.map(|name| format!("{name}\n")).collect()).await;
    }
    if chosen.is_empty() {
        chosen = FILES.to_vec();
    }
    for name in chosen {
        let outcome = attempt(name).await;
        host::print(line(name, &outcome)).await;
    }
}
