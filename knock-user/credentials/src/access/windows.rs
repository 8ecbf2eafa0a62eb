//! Access control lists of Windows (Microsoft, "Access Control Lists").

use std::{
    ffi::{OsStr, c_void},
    fs::File,
    io,
    os::windows::{
        ffi::OsStrExt as _,
        io::{AsRawHandle as _, FromRawHandle as _, OwnedHandle},
    },
    path::Path,
    ptr::null_mut,
    slice,
};

use windows_sys::Win32::{
    Foundation::{
        ERROR_SUCCESS, GENERIC_ALL, GENERIC_READ, GENERIC_WRITE, INVALID_HANDLE_VALUE, LocalFree,
    },
    Security::{
        ACCESS_ALLOWED_ACE, ACE_HEADER, ACL,
        Authorization::{
            ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW,
            GetSecurityInfo, SDDL_REVISION_1, SE_FILE_OBJECT,
        },
        DACL_SECURITY_INFORMATION, EqualSid, GetAce, GetTokenInformation, INHERIT_ONLY_ACE,
        IsWellKnownSid, OWNER_SECURITY_INFORMATION, PSID, SECURITY_ATTRIBUTES, TOKEN_QUERY,
        TOKEN_USER, TokenUser, WELL_KNOWN_SID_TYPE, WinBuiltinAdministratorsSid,
        WinCreatorOwnerRightsSid, WinLocalSystemSid,
    },
    Storage::FileSystem::{
        CREATE_NEW, CreateFileW, DELETE, FILE_APPEND_DATA, FILE_ATTRIBUTE_NORMAL, FILE_READ_DATA,
        FILE_WRITE_DATA, WRITE_DAC, WRITE_OWNER,
    },
    System::{
        SystemServices::{ACCESS_ALLOWED_ACE_TYPE, ACCESS_DENIED_ACE_TYPE},
        Threading::{GetCurrentProcess, OpenProcessToken},
    },
};

use super::others::Others;

pub(super) const MAKE_PRIVATE: &str =
    "icacls FILE /inheritance:r /grant:r \"%USERNAME%:F\" (in PowerShell \"$env:USERNAME`:F\")";
pub(super) const MAKE_READ_ONLY: &str = MAKE_PRIVATE;

const READING: u32 = FILE_READ_DATA | GENERIC_READ | GENERIC_ALL;

/// Also what leads to writing: another list, another owner, or another file in its place.
const WRITING: u32 = FILE_WRITE_DATA
    | FILE_APPEND_DATA
    | WRITE_DAC
    | WRITE_OWNER
    | DELETE
    | GENERIC_WRITE
    | GENERIC_ALL;

/// Accounts that can take the ownership of any file, or that stand for its owner.
const TRUSTED: [WELL_KNOWN_SID_TYPE; 3] = [
    WinLocalSystemSid,
    WinBuiltinAdministratorsSid,
    // The owner, by another name.
    WinCreatorOwnerRightsSid,
];

/// Memory of `LocalAlloc`, which is freed when it is dropped.
struct Allocated<T>(*mut T);

impl<T> Drop for Allocated<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer is null, or was returned by a function that allocates with LocalAlloc and
        // leaves the memory to its caller. It is freed once.
        unsafe { LocalFree(self.0.cast()) };
    }
}

/// The user who runs this process.
struct User {
    /// A `TOKEN_USER` and the SID that it points to, of at most 68 bytes.
    information: Box<[u64; 16]>,
}

impl User {
    fn of_this_process() -> io::Result<Self> {
        let mut token = null_mut();
        // SAFETY: the handle of the process is valid, and the last pointer is to a place for another.
        if unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &mut token) } == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the handle is of a token, and nothing else owns it.
        let token = unsafe { OwnedHandle::from_raw_handle(token) };
        let mut information = Box::new([0; 16]);
        let size = u32::try_from(size_of_val(&*information)).map_err(io::Error::other)?;
        let mut needed = 0;
        // SAFETY: the place has the given size, and the alignment of pointers.
        let told = unsafe {
            GetTokenInformation(
                token.as_raw_handle(),
                TokenUser,
                information.as_mut_ptr().cast(),
                size,
                &mut needed,
            )
        };
        match told {
            0 => Err(io::Error::last_os_error()),
            _ => Ok(Self { information }),
        }
    }

    /// Valid as long as this value.
    fn sid(&self) -> PSID {
        // SAFETY: the information begins with this structure.
        unsafe { self.information.as_ptr().cast::<TOKEN_USER>().read() }
            .User
            .Sid
    }

    /// The SID as text, such as `S-1-5-21-1-2-3-1000`.
    fn sid_text(&self) -> io::Result<String> {
        let mut text = Allocated(null_mut());
        // SAFETY: the SID is valid, and the pointer is to a place for another.
        if unsafe { ConvertSidToStringSidW(self.sid(), &mut text.0) } == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the text ends with a NUL.
        let len = (0..)
            .take_while(|at| unsafe { *text.0.add(*at) } != 0)
            .count();
        // SAFETY: that many characters come before the NUL.
        let text = unsafe { slice::from_raw_parts(text.0, len) };
        Ok(String::from_utf16_lossy(text))
    }
}

/// `text` with a NUL at its end.
fn wide(text: &OsStr) -> io::Result<Vec<u16>> {
    let mut wide: Vec<u16> = text.encode_wide().collect();
    if wide.contains(&0) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    wide.push(0);
    Ok(wide)
}

pub(super) fn create_private(path: &Path) -> io::Result<File> {
    // Protected from what its folder would hand down; everything for the user and the system.
    let user = User::of_this_process()?.sid_text()?;
    let list = wide(format!("D:P(A;;FA;;;{user})(A;;FA;;;SY)").as_ref())?;
    let name = wide(path.as_os_str())?;
    let mut descriptor = Allocated(null_mut());
    // SAFETY: the first pointer is to a string with a NUL at its end, the third to a place for a
    // pointer, and the size may be omitted.
    let parsed = unsafe {
        ConvertStringSecurityDescriptorToSecurityDescriptorW(
            list.as_ptr(),
            SDDL_REVISION_1,
            &mut descriptor.0,
            null_mut(),
        )
    };
    if parsed == 0 {
        return Err(io::Error::last_os_error());
    }
    let attributes = SECURITY_ATTRIBUTES {
        nLength: u32::try_from(size_of::<SECURITY_ATTRIBUTES>()).map_err(io::Error::other)?,
        lpSecurityDescriptor: descriptor.0,
        bInheritHandle: 0,
    };
    // SAFETY: the name ends with a NUL, and the attributes and the descriptor outlive the call.
    let handle = unsafe {
        CreateFileW(
            name.as_ptr(),
            GENERIC_WRITE,
            0,
            &attributes,
            CREATE_NEW,
            FILE_ATTRIBUTE_NORMAL,
            null_mut(),
        )
    };
    if handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is of a file, and nothing else owns it.
    Ok(unsafe { File::from_raw_handle(handle) })
}

pub(super) fn of_others(file: &File) -> io::Result<Others> {
    let mut descriptor: Allocated<c_void> = Allocated(null_mut());
    let mut owner: PSID = null_mut();
    let mut list: *mut ACL = null_mut();
    // SAFETY: the handle is of an open file. Owner and list point into the descriptor, which lives as
    // long as they do.
    let status = unsafe {
        GetSecurityInfo(
            file.as_raw_handle(),
            SE_FILE_OBJECT,
            OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION,
            &mut owner,
            null_mut(),
            &mut list,
            null_mut(),
            &mut descriptor.0,
        )
    };
    if status != ERROR_SUCCESS {
        return Err(io::Error::from_raw_os_error(status.cast_signed()));
    }
    let user = User::of_this_process()?;
    // SAFETY: the list and the SIDs are valid as long as the descriptor and the user.
    let allowed = unsafe {
        // Without a list everybody may do everything, and an owner can always change the list.
        match list.is_null() || !is_trusted(owner, user.sid()) {
            true => GENERIC_ALL,
            false => allowed_to_others(list, user.sid())?,
        }
    };
    Ok(Others {
        read: allowed & READING != 0,
        write: allowed & WRITING != 0,
        source: "by its access control list".to_owned(),
    })
}

/// What the entries of `list` allow to anybody but `user` and those who may do everything. Entries that
/// deny something are not counted, so the answer may be too large.
///
/// # Safety
///
/// The list and the user are valid.
unsafe fn allowed_to_others(list: *const ACL, user: PSID) -> io::Result<u32> {
    let mut allowed = 0;
    // SAFETY: the caller vouches for the list.
    let count = unsafe { (*list).AceCount };
    for index in 0..u32::from(count) {
        let mut entry: *mut c_void = null_mut();
        // SAFETY: the list is valid, and the index is below its number of entries.
        if unsafe { GetAce(list, index, &mut entry) } == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: every entry begins with this header.
        let header = unsafe { entry.cast::<ACE_HEADER>().read() };
        let is_inherited_only = u32::from(header.AceFlags) & INHERIT_ONLY_ACE != 0;
        match u32::from(header.AceType) {
            _ if is_inherited_only => {}
            ACCESS_DENIED_ACE_TYPE => {}
            ACCESS_ALLOWED_ACE_TYPE => {
                let entry: *mut ACCESS_ALLOWED_ACE = entry.cast();
                // SAFETY: an entry of this type has a mask, and a SID that begins at `SidStart`.
                let (mask, sid) = unsafe { ((*entry).Mask, (&raw mut (*entry).SidStart).cast()) };
                // SAFETY: both are valid SIDs.
                if !unsafe { is_trusted(sid, user) } {
                    allowed |= mask;
                }
            }
            // Entries with conditions, or for objects of a directory service. Whom they allow what is not
            // evaluated, so they count as access for everybody.
            _ => allowed |= GENERIC_ALL,
        }
    }
    Ok(allowed)
}

/// # Safety
///
/// `user` is a valid SID, and `sid` is one or null.
unsafe fn is_trusted(sid: PSID, user: PSID) -> bool {
    if sid.is_null() {
        return false;
    }
    // SAFETY: the caller vouches for both.
    (unsafe { EqualSid(sid, user) } != 0)
        || TRUSTED
            .iter()
            // SAFETY: the caller vouches for it.
            .any(|known| unsafe { IsWellKnownSid(sid, *known) } != 0)
}
