//! Compiles the C++ part of the llama.cpp binding and names the build.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const SHIMS: [&str; 2] = ["src/worker/llama/chat_shim.cpp", "src/worker/llama/mtmd_shim.cpp"];
/// What they share.
const SHIM_HEADER: &str = "src/worker/llama/shim.h";

/// What decides how a frame looks.
const FRAME_SOURCES: [&str; 2] = ["src/domain", "src/protocol"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    for file in SHIMS.into_iter().chain([SHIM_HEADER]) {
        println!("cargo:rerun-if-changed={file}");
    }
    compile_shim(&llama_cpp_sources()?);
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux")
        && env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "gnu")
    {
        // Less of the file in an idle daemon's memory (12.9 to 12.2 MB): relocations, all of which
        // are read at every start, in 20 kB instead of 700 kB, and code that never runs apart from
        // code that does. Linkers that do not know these ignore them.
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
        println!("cargo:rustc-link-arg-bins=-Wl,-z,keep-text-section-prefix");
    }
    println!("cargo:rustc-env=MODELD_BUILD_ID={}", build_id()?);
    Ok(())
}

/// Where llama.cpp's sources lie. `llama-cpp-sys-2` tells its dependents where it built (`links`
/// metadata), and CMake's cache there says from what.
fn llama_cpp_sources() -> Result<PathBuf, Box<dyn Error>> {
    let cmake_dir = env::var("DEP_LLAMA_GGML_CMAKE_DIR")
        .map_err(|_| "llama-cpp-sys-2 did not say where it was built")?;
    let out = Path::new(&cmake_dir).ancestors().nth(2).ok_or("an unexpected build directory")?;
    let cache = out.join("build/CMakeCache.txt");
    let text =
        fs::read_to_string(&cache).map_err(|e| format!("cannot read {}: {e}", cache.display()))?;
    let home = text
        .lines()
        .find_map(|line| line.strip_prefix("CMAKE_HOME_DIRECTORY:INTERNAL="))
        .ok_or_else(|| format!("{} names no source directory", cache.display()))?;
    Ok(PathBuf::from(home))
}

/// The library it needs (`llama-common`) is linked by `llama-cpp-sys-2`; `cc` adds the platform's
/// C++ runtime.
fn compile_shim(llama_cpp: &Path) {
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").files(SHIMS);
    // llama.cpp's headers are not ours to keep free of warnings.
    build.warnings(false);
    for directory in ["common", "include", "ggml/include", "tools/mtmd", "vendor"] {
        build.include(llama_cpp.join(directory));
    }
    build.compile("modeld_chat_shim");
}

/// The commit where git knows it, and a hash of the sources that shape the worker's frames: what
/// must agree between a daemon and its workers. Only a commit or a change of those files makes
/// Cargo run this again.
fn build_id() -> Result<String, Box<dyn Error>> {
    let mut files = Vec::new();
    for directory in FRAME_SOURCES {
        println!("cargo:rerun-if-changed={directory}");
        collect(Path::new(directory), &mut files)?;
    }
    files.sort();
    let mut hash = Fnv::new();
    for file in &files {
        hash.write(&fs::read(file)?);
    }
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"])
        && Path::new(&log).exists()
    {
        println!("cargo:rerun-if-changed={log}");
    }
    Ok(match git(&["rev-parse", "--short=12", "HEAD"]) {
        Some(commit) => format!("{commit}-{:016x}", hash.0),
        None => format!("{:016x}", hash.0),
    })
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// FNV-1a: tells builds apart, no more.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
