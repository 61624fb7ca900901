package snapshot

import (
	"strconv"
	"unsafe"

	"golang.org/x/sys/windows"
)

// timeOfDay is the SYSTEM_TIMEOFDAY_INFORMATION of Windows.
type timeOfDay struct {
	bootTime, currentTime, timeZoneBias int64
	timeZoneID, _                       uint32
	bootTimeBias, sleepTimeBias         int64
}

// bootID is another one each time that the machine starts; empty where that
// cannot be known.
func bootID() string {
	const systemTimeOfDayInformation = 3
	var now timeOfDay
	err := windows.NtQuerySystemInformation(systemTimeOfDayInformation, unsafe.Pointer(&now), uint32(unsafe.Sizeof(now)), nil) //nolint:gosec // it is as large as it says
	if err != nil || now.bootTime == 0 {
		return ""
	}
	// Whoever sets the clock moves both.
	return strconv.FormatInt(now.bootTime-now.bootTimeBias, 10)
}
