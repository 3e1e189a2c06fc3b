use std::collections::BTreeMap;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use tar::Header;

use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// One tar entry with a path written as it is, whatever it is.
fn entry(path: &[u8], kind: EntryType, content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o777);
    header.set_size(content.len() as u64);
    if matches!(kind, EntryType::Symlink | EntryType::Link) {
        header.set_link_name("/etc/passwd").unwrap();
    }
    header.as_mut_bytes()[..path.len()].copy_from_slice(path);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn tar(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.extend_from_slice(&[0; 1024]);
    bytes
}

fn file(path: &str) -> Vec<u8> {
    entry(path.as_bytes(), EntryType::Regular, b"x")
}

/// A directory to unpack in, with a witness outside of the destination.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("cache")).unwrap();
        fs::write(dir.path().join("witness"), "untouched").unwrap();
        Self { dir }
    }

    fn destination(&self) -> PathBuf {
        self.dir.path().join("cache/bundle")
    }

    fn unpack(&self, tar: &[u8], limits: &BundleLimits) -> Result<(), UnpackError> {
        unpack(&gzip(tar), &Digest::of(tar), &self.destination(), limits)
    }

    fn assert_nothing_left(&self) {
        assert_eq!(fs::read_dir(self.dir.path().join("cache")).unwrap().count(), 0);
        self.assert_nothing_outside();
    }

    fn assert_nothing_outside(&self) {
        let mut names: Vec<_> = fs::read_dir(self.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["cache", "witness"]);
        assert_eq!(fs::read_to_string(self.dir.path().join("witness")).unwrap(), "untouched");
    }
}

#[test]
fn unsafe_entries_are_refused_by_name_and_leave_nothing() {
    for (entries, expected) in [
        (vec![file("../witness")], "`../witness` has a `..`"),
        (vec![file("ok"), file("a/../../../witness")], "`a/../../../witness` has a `..`"),
        (vec![file("/tmp/evil")], "`/tmp/evil` is absolute"),
        (vec![file("C:\\evil")], "is absolute"),
        (vec![file("a\\..\\b")], "backslash"),
        (vec![file("./a")], "has a `..`, `.` or empty"),
        (vec![file("a//b")], "empty component"),
        (vec![file("a\nb")], "control character"),
        (vec![file("a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q")], "nested deeper"),
        (vec![file("a"), file("a")], "clashes with `a`"),
        (vec![file("data/a"), file("Data/b")], "`Data/b` clashes with `data`"),
        (vec![file("a"), file("a/b")], "`a/b` clashes with `a`"),
        (vec![entry(b"d", EntryType::Directory, b""), file("d")], "clashes with `d`"),
        (vec![entry(b"link", EntryType::Symlink, b"")], "`link` is a symbolic link"),
        (vec![entry(b"link", EntryType::Link, b"")], "`link` is a hard link"),
        (vec![entry(b"dev", EntryType::Char, b"")], "`dev` is a device"),
        (vec![entry(b"pipe", EntryType::Fifo, b"")], "`pipe` is a pipe"),
        (vec![entry(b"g", EntryType::XGlobalHeader, b"11 path=a\n")], "unsupported kind"),
        (vec![entry(b"sparse", EntryType::GNUSparse, b"")], "sparse"),
        (vec![entry(b"\xff\xfe", EntryType::Regular, b"")], "not UTF-8"),
        (vec![entry(b"d", EntryType::Directory, b"x")], "directory `d` has content"),
        // A long name record renames the entry after it.
        (vec![entry(b"L", EntryType::GNULongName, b"../../witness\0"), file("ok")], "`../../witness` has a `..`"),
        (vec![entry(b"x", EntryType::XHeader, b"19 path=../witness\n"), file("ok")], "`../witness` has a `..`"),
    ] {
        let place = Place::new();
        let message = place.unpack(&tar(&entries), &BundleLimits::default()).unwrap_err().to_string();
        assert!(message.contains(expected) && !message.contains('\n'), "{message}");
        place.assert_nothing_left();
    }
}

#[test]
fn names_end_at_nul_so_nothing_hides_behind_it() {
    let place = Place::new();
    place.unpack(&tar(&[file("b\0/../../witness")]), &BundleLimits::default()).unwrap();
    assert_eq!(fs::read(place.destination().join("b")).unwrap(), b"x");
    place.assert_nothing_outside();
}

#[test]
fn sizes_are_bounded_by_what_is_read() {
    let big = entry(b"big", EntryType::Regular, &vec![0; 4096]);
    let limits = |change: fn(&mut BundleLimits)| {
        let mut limits = BundleLimits::default();
        change(&mut limits);
        limits
    };
    for (limits, expected) in [
        (limits(|l| l.file = 4095), "`big` has 4096 bytes, at most 4095"),
        (limits(|l| l.uncompressed = 4096), "more than 4096 bytes when unpacked"),
        (limits(|l| l.compressed = 10), "compressed bytes, at most 10"),
        (limits(|l| l.entries = 1), "more than 1 entries"),
    ] {
        let place = Place::new();
        let message = place.unpack(&tar(&[big.clone(), file("a")]), &limits).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
        place.assert_nothing_left();
    }
}

#[test]
fn compression_bombs_are_refused() {
    let place = Place::new();
    let bomb = tar(&[entry(b"zeros", EntryType::Regular, &vec![0; 32 << 20])]);
    let error = place.unpack(&bomb, &BundleLimits::default()).unwrap_err();
    assert!(error.to_string().contains("suspiciously"), "{error}");
    assert_eq!(error.reason(), "ArchiveTooLarge");
    place.assert_nothing_left();
}

#[test]
fn damage_and_trailing_data_are_refused() {
    let good = tar(&[file("a")]);
    let digest = Digest::of(&good);
    let compressed = gzip(&good);
    let mut trailing_tar = good.clone();
    trailing_tar.extend_from_slice(&tar(&[file("hidden")]));
    let mut flipped = compressed.clone();
    let crc = flipped.len() - 8;
    flipped[crc] ^= 1;
    for (layer, digest, expected) in [
        ([compressed.clone(), gzip(b"hidden")].concat(), &digest, "trailing data after its gzip member"),
        ([compressed.clone(), b"junk".to_vec()].concat(), &digest, "trailing data after its gzip member"),
        (gzip(&trailing_tar), &Digest::of(&trailing_tar), "trailing data after its last entry"),
        (compressed[..compressed.len() - 1].to_vec(), &digest, "damaged"),
        (compressed[..compressed.len() / 2].to_vec(), &digest, "damaged"),
        (flipped, &digest, "damaged"),
        (b"not gzip".to_vec(), &digest, "damaged"),
        (Vec::new(), &digest, "damaged"),
        (compressed.clone(), &Digest::of(b"other"), "has digest"),
    ] {
        let place = Place::new();
        let error = unpack(&layer, digest, &place.destination(), &BundleLimits::default()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}, expected {expected}");
        place.assert_nothing_left();
    }
}

#[test]
fn an_existing_destination_is_left_alone() {
    let place = Place::new();
    fs::create_dir(place.destination()).unwrap();
    let error = place.unpack(&tar(&[file("a")]), &BundleLimits::default()).unwrap_err();
    assert_eq!(error.reason(), "DestinationExists");
    assert_eq!(fs::read_dir(place.destination()).unwrap().count(), 0);
    assert_eq!(fs::read_dir(place.dir.path().join("cache")).unwrap().count(), 1);
}

#[test]
fn one_file_can_be_read_without_unpacking() {
    let bytes = tar(&[file("a"), entry(b"runbook.md", EntryType::Regular, b"text"), file("z")]);
    let (layer, digest) = (gzip(&bytes), Digest::of(&bytes));
    let limits = BundleLimits::default();
    assert_eq!(read_file(&layer, &digest, "runbook.md", &limits).unwrap(), Some(b"text".to_vec()));
    assert_eq!(read_file(&layer, &digest, "none", &limits).unwrap(), None);
    verify(&layer, &digest, &limits).unwrap();
    let bad = tar(&[entry(b"runbook.md", EntryType::Regular, b"text"), file("../x")]);
    assert!(read_file(&gzip(&bad), &Digest::of(&bad), "runbook.md", &limits).is_err());
}

/// Paths as an attacker would make them up.
fn any_path() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        Just("..".to_owned()),
        Just(".".to_owned()),
        Just(String::new()),
        Just("a".to_owned()),
        Just("A".to_owned()),
        Just("C:".to_owned()),
        Just("\\".to_owned()),
        "[a-c]{1,3}",
        "\\PC{1,4}",
    ];
    prop::collection::vec(part, 1..5).prop_map(|parts| {
        let mut path = parts.join("/").into_bytes();
        path.truncate(100);
        path
    })
}

fn any_kind() -> impl Strategy<Value = EntryType> {
    prop::sample::select(b"0057LKx12346gS\0".to_vec()).prop_map(EntryType::new)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn files_round_trip(files in prop::collection::btree_map("[a-d]{1,3}(/[e-h]{1,3}){0,3}", prop::collection::vec(any::<u8>(), 0..2000), 1..12)) {
        // Keep the paths that can exist beside each other.
        let mut set = PathSet::default();
        let files: BTreeMap<_, _> = files.into_iter().filter(|(path, _)| set.add_file(path).is_ok()).collect();
        let entries: Vec<_> = files.iter().map(|(path, content)| entry(path.as_bytes(), EntryType::Regular, content)).collect();
        let place = Place::new();
        place.unpack(&tar(&entries), &BundleLimits::default()).unwrap();
        for (path, content) in &files {
            prop_assert_eq!(&fs::read(place.destination().join(path)).unwrap(), content);
        }
    }

    #[test]
    fn no_archive_writes_outside(
        entries in prop::collection::vec((any_path(), any_kind(), prop::collection::vec(any::<u8>(), 0..40)), 1..6),
    ) {
        let entries: Vec<_> = entries.iter().map(|(path, kind, content)| entry(path, *kind, content)).collect();
        let place = Place::new();
        match place.unpack(&tar(&entries), &BundleLimits::default()) {
            Ok(()) => place.assert_nothing_outside(),
            Err(_) => place.assert_nothing_left(),
        }
    }

    #[test]
    fn no_damaged_archive_writes_outside(at in any::<prop::sample::Index>(), bit in 0..8_u8, in_tar in any::<bool>()) {
        let mut bytes = tar(&[file("data/a"), entry(b"templates", EntryType::Directory, b""), file("templates/b")]);
        let place = Place::new();
        let result = if in_tar {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            place.unpack(&bytes, &BundleLimits::default())
        } else {
            let digest = Digest::of(&bytes);
            let mut layer = gzip(&bytes);
            let at = at.index(layer.len());
            layer[at] ^= 1 << bit;
            unpack(&layer, &digest, &place.destination(), &BundleLimits::default())
        };
        match result {
            Ok(()) => place.assert_nothing_outside(),
            Err(_) => place.assert_nothing_left(),
        }
    }
}

#[test]
fn a_layer_whose_own_digest_was_checked_is_unpacked_by_the_same_rules() {
    let place = Place::new();
    let layer = gzip(&tar(&[file("runbook.md"), file("templates/workflow.py")]));
    let unpack_layer = |layer: &[u8], limits: &BundleLimits| {
        super::unpack_layer(layer, layer.len() as u64, &place.destination(), limits)
    };
    let small = BundleLimits { uncompressed: 1024, ..BundleLimits::default() };
    assert!(matches!(unpack_layer(&layer, &small), Err(UnpackError::TooLarge(_))));
    let outside = gzip(&tar(&[file("runbook.md"), file("../witness")]));
    assert!(matches!(unpack_layer(&outside, &BundleLimits::default()), Err(UnpackError::Path { .. })));
    let trailing = [layer.clone(), b"x".to_vec()].concat();
    assert!(matches!(unpack_layer(&trailing, &BundleLimits::default()), Err(UnpackError::TrailingData(_))));
    assert!(!place.destination().exists());
    unpack_layer(&layer, &BundleLimits::default()).unwrap();
    assert_eq!(fs::read(place.destination().join("templates/workflow.py")).unwrap(), b"x");
}
