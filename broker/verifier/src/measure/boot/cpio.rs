//! The small archives in which systemd-stub hands sections of the image to the initrd, byte for byte (src/boot/cpio.c).

/// End of an archive: 11 bytes of name, in upper case as the stub has it, and zeros up to a multiple of four.
const TRAILER: &[u8] = b"070701\
    00000000000000000000000000000000000000010000000000000000\
    000000000000000000000000000000000000000B00000000TRAILER!!!\0\0\0\0";
const DIRECTORY: &str = ".extra";
/// Directory that all may enter, file that all may read.
const DIRECTORY_MODE: u32 = 0o040_555;
const FILE_MODE: u32 = 0o100_444;

/// An archive with the directory `.extra` and one file in it.
pub(super) fn archive(file: &str, content: &[u8]) -> Vec<u8> {
    let mut archive = Vec::new();
    entry(&mut archive, 1, DIRECTORY_MODE, DIRECTORY, &[]);
    entry(&mut archive, 2, FILE_MODE, &format!("{DIRECTORY}/{file}"), content);
    archive.extend_from_slice(TRAILER);
    archive
}

/// Fills up to a multiple of four.
pub(super) fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

/// Header of 13 numbers of 8 hex digits: inode, mode, uid, gid, links, time, size, four device numbers, name size, checksum.
fn entry(archive: &mut Vec<u8>, inode: u32, mode: u32, name: &str, content: &[u8]) {
    let name_size = name.len().saturating_add(1);
    archive.extend_from_slice(
        format!(
            "070701{inode:08x}{mode:08x}{zero:08x}{zero:08x}{links:08x}{zero:08x}{size:08x}{zero:032x}{name_size:08x}{zero:08x}{name}\0",
            zero = 0,
            links = 1,
            size = content.len(),
        )
        .as_bytes(),
    );
    pad(archive);
    archive.extend_from_slice(content);
    pad(archive);
}
