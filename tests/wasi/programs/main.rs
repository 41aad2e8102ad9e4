// A Rust program of the wasip1 target: standard input, arguments, files, a panic that is caught as exit code.
use std::{collections::BTreeMap, env, fs, io::Read, process};

fn main() {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).unwrap();
    let mut counts = BTreeMap::new();
    for word in text.split_whitespace() {
        *counts.entry(word).or_insert(0) += 1;
    }
    fs::create_dir("/scratch/dir").unwrap();
    fs::write("/scratch/dir/counts", format!("{counts:?}")).unwrap();
    let read = fs::read_to_string("/scratch/dir/counts").unwrap();
    println!("{read} {:?}", env::args().skip(1).collect::<Vec<_>>());
    fs::remove_dir_all("/scratch/dir").unwrap();
    assert!(fs::read("/scratch/../../etc/passwd").is_err());
    assert!(fs::read("/etc/passwd").is_err());
    process::exit(if counts["b"] == 2 { 9 } else { 1 });
}
