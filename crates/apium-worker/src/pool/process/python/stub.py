import os, socket, sys, types
c = socket.socket(fileno=os.dup(0)); n = os.open(os.devnull, os.O_RDONLY); os.dup2(n, 0); os.close(n)
h = c.recv(9, socket.MSG_WAITALL); t, g = int.from_bytes(h[:4], "big"), int.from_bytes(h[5:], "big")
p = c.recv(t - 5, socket.MSG_WAITALL) if h[4:5] == b"\r" and t > 5 else b""
if not p or len(p) != t - 5: os._exit(2)
m = sys.modules["apium_child"] = types.ModuleType("apium_child")
exec(compile(p[g:], "apium/child.py", "exec"), m.__dict__)
m.main(c)
