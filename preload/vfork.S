// vfork for programs with Gs (HZ-VFORK): the child runs on its parent's stack and memory until it
// execs or exits, so the shims must know it: the G is marked from before the call until the parent
// goes on. The return address stays in a register, as in glibc's own, because the child returns
// first and reuses the stack. On the calling thread; no locks.

        .text
        .globl  vfork
        .type   vfork, @function
        .globl  __vfork
        .set    __vfork, vfork
vfork:
        .cfi_startproc
        subq    $8, %rsp
        .cfi_adjust_cfa_offset 8
        call    graftVforkBegins
        addq    $8, %rsp
        .cfi_adjust_cfa_offset -8
        popq    %rdi
        .cfi_adjust_cfa_offset -8
        .cfi_register %rip, %rdi
        movl    $58, %eax               // SYS_vfork
        syscall
        pushq   %rdi
        .cfi_adjust_cfa_offset 8
        .cfi_offset %rip, -8
        testl   %eax, %eax
        jz      .Lchild
        movq    %rax, %rdi
        jmp     graftVforkEnds          // of the parent: returns what vfork does
.Lchild:
        ret
        .cfi_endproc
        .size   vfork, .-vfork
        .section .note.GNU-stack, "", @progbits
