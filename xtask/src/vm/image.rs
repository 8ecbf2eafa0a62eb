//! The kernel's image, as qemu boots it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::kernel::Arch;
use crate::workspace::run;

/// Fields of the x86 boot protocol (Documentation/arch/x86/boot.rst).
const SETUP_SECTORS: usize = 0x1f1;
const MAGIC: usize = 0x202;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

/// How compressed data begins, and the program that unpacks it.
const FORMATS: &[(&[u8], &str)] = &[
    (b"\x1f\x8b", "gzip"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x02\x21\x4c\x18", "lz4"),
];

/// The image in `package`, a folder of unpacked packages, as qemu takes it. For amd64, that is the
/// ELF file in the image: qemu enters it directly (PVH), without the decompression in the guest
/// that takes most of a boot under emulation.
pub(super) fn bootable(package: &Path, release: &str, arch: Arch) -> Result<PathBuf> {
    let places = [
        format!("boot/vmlinuz-{release}"),
        format!("usr/lib/modules/{release}/vmlinuz"),
        format!("lib/modules/{release}/vmlinuz"),
    ];
    let image = places
        .iter()
        .map(|place| package.join(place))
        .find(|path| path.is_file())
        .with_context(|| format!("no vmlinuz in {}", package.display()))?;
    if arch == Arch::Arm64 {
        return Ok(image);
    }
    let elf = package.join("vmlinux");
    if !elf.is_file() {
        unpack(&image, &elf).with_context(|| format!("cannot unpack {}", image.display()))?;
    }
    Ok(elf)
}

fn unpack(image: &Path, elf: &Path) -> Result<()> {
    let bytes = fs::read(image)?;
    let payload = payload(&bytes)?;
    let program = FORMATS
        .iter()
        .find_map(|(magic, program)| payload.starts_with(magic).then_some(*program))
        .context("the payload is compressed in an unknown way")?;
    // The kernel's build appends the size of the ELF file, which gzip's format has already.
    let payload = match program {
        "gzip" => payload,
        _ => &payload[..payload.len().saturating_sub(4)],
    };
    let packed = elf.with_extension("packed");
    fs::write(&packed, payload)?;
    let partial = elf.with_extension("partial");
    let mut decompress = Command::new(program);
    decompress.args(["-d", "-c"]).stdin(File::open(&packed)?);
    run(decompress.stdout(File::create(&partial)?))?;
    fs::remove_file(packed)?;
    ensure!(
        fs::read(&partial)?.starts_with(b"\x7fELF"),
        "the payload is no ELF file"
    );
    fs::rename(partial, elf)?;
    Ok(())
}

/// The compressed kernel in a bzImage.
fn payload(image: &[u8]) -> Result<&[u8]> {
    if image.get(MAGIC..MAGIC + 4) != Some(b"HdrS") {
        bail!("this is no bzImage");
    }
    let setup = usize::from(image[SETUP_SECTORS]);
    let begin = (setup + 1) * 512 + field(image, PAYLOAD_OFFSET)?;
    let end = begin + field(image, PAYLOAD_LENGTH)?;
    image.get(begin..end).context("the image is cut off")
}

fn field(image: &[u8], at: usize) -> Result<usize> {
    let bytes = image.get(at..at + 4).context("the header is cut off")?;
    Ok(u32::from_le_bytes(bytes.try_into()?).try_into()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bz_image(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 1024 + 16];
        image[SETUP_SECTORS] = 1;
        image[MAGIC..MAGIC + 4].copy_from_slice(b"HdrS");
        image[PAYLOAD_OFFSET] = 16;
        image[PAYLOAD_LENGTH] = u8::try_from(payload.len()).unwrap();
        image.extend(payload);
        image.extend(b"signature");
        image
    }

    #[test]
    fn the_payload_is_where_the_header_says() {
        assert_eq!(payload(&bz_image(b"compressed")).unwrap(), b"compressed");
    }

    #[test]
    fn other_files_and_cut_images_are_refused() {
        assert!(payload(b"\x7fELF").is_err());
        assert!(payload(&bz_image(b"compressed")[..1042]).is_err());
    }
}
