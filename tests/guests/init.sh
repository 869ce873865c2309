#!/bin/bash
# The first process of a guest (see uml.py and qemu.py). Its root is the machine's own /, read-only.
#
# Words of the kernel command line:
#   ninepfs.name=NAME          host name of the guest (9P clients send it with their locks)
#   ninepfs.control=DIR        directory of the host that both sides write to, mounted on /run/control
#   ninepfs.scripts=DIR        the directory of this file, mounted on /run/guests
#   ninepfs.hostfs=9p          these two are tags of 9P devices, and not directories for the file system hostfs
#   ninepfs.bell=FILE          a line can be read here when there is something new in the control directory; without it,
#                              the guest looks often
#   ninepfs.address=A/BITS     address of the network interface, if there is one
#   ninepfs.gateway=A          the way to the server
#
# It then runs whatever the host puts into the control directory: N.run is executed by bash, its output goes to N.out and
# its exit status to N.status, for N = 1, 2, 3 ... Several may run at once. The file "off" ends the guest.

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp/home TMPDIR=/tmp LC_ALL=C.UTF-8

mount -n -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null || true
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
for directory in /dev/shm /tmp /run /mnt; do
    mount -t tmpfs -o mode=1777 tmpfs $directory
done
ln -sf /proc/self/fd /dev/fd
ln -sf /proc/self/fd/0 /dev/stdin
ln -sf /proc/self/fd/1 /dev/stdout
ln -sf /proc/self/fd/2 /dev/stderr
mkdir -p /run/control /run/guests /tmp/home
hostfs=hostfs bell=

# mount_hostfs SOURCE DIRECTORY OPTION
mount_hostfs() {
    case $hostfs in
        hostfs) mount -t hostfs -o "$3,$1" none "$2" ;;
        9p) mount -t 9p -o "$3,trans=virtio,version=9p2000.L,msize=65536,access=any" "$1" "$2" ;;
    esac
}

for word in $(</proc/cmdline); do
    case $word in
        ninepfs.name=*) echo "${word#*=}" >/proc/sys/kernel/hostname ;;
        ninepfs.hostfs=*) hostfs=${word#*=} ;;
        ninepfs.bell=*) bell=${word#*=} ;;
        ninepfs.control=*) mount_hostfs "${word#*=}" /run/control rw ;;
        ninepfs.scripts=*) mount_hostfs "${word#*=}" /run/guests ro ;;
        ninepfs.address=*)
            ip link set lo up
            ip address add "${word#*=}" dev vec0
            ip link set vec0 up
            ;;
        ninepfs.gateway=*) ip route add default via "${word#*=}" ;;
    esac
done

cd /run/control || exit
if [ "$bell" ]; then
    exec {idle}<>"$bell"
    pause=60
else
    mkfifo /run/idle
    exec {idle}<>/run/idle
    pause=0.02
fi

run() {
    bash "$1.run" </dev/null >"$1.out" 2>&1
    local status=$?
    echo "guest: command $1 ended with status $status"
    echo $status >"$1.new"
    mv "$1.new" "$1.status"
}

# Shows all processes on the console, with their state (D: waits for the server or a disk); starts none for it.
show_processes() {
    local process words state
    for process in /proc/[0-9]*; do
        words=() state=
        mapfile -d '' -t words <"$process/cmdline"
        [ ${#words[@]} -gt 0 ] || continue # a thread of the kernel
        while IFS=$'\t' read -r key value; do [ "$key" != State: ] || state=$value; done <"$process/status"
        echo "guest: process ${process##*/}, state $state: ${words[*]:0:20}"
    done 2>/dev/null
}

echo "guest: ready"
echo ready >ready
number=1
while [ -e $number.out ]; do number=$((number + 1)); done # those from before a reboot
while [ ! -e off ]; do
    if [ -e $number.run ]; then
        run $number &
        number=$((number + 1))
        continue
    fi
    if [ -e show ]; then
        show_processes
        rm show
    fi
    read -r -t $pause -u $idle
done

echo "guest: off"
while read -r _ directory type _; do
    case $type:$directory in
        9p:/ | 9p:/run/*) ;; # ours
        9p:*) umount "$directory" ;;
    esac
done </proc/mounts
echo o >/proc/sysrq-trigger
sleep 10
