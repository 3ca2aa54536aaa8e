// The parts of the HTML report as bytes in the command line's read-only data: page.html, page.css and
// page.js stay files that an editor and a browser understand. CMake rebuilds this when they change.
        .section .rodata
        .global graft_page_html, graft_page_html_end
        .global graft_page_css, graft_page_css_end
        .global graft_page_js, graft_page_js_end
graft_page_html:
        .incbin "tools/compare/page.html"
graft_page_html_end:
graft_page_css:
        .incbin "tools/compare/page.css"
graft_page_css_end:
graft_page_js:
        .incbin "tools/compare/page.js"
graft_page_js_end:
        .section .note.GNU-stack,"",@progbits
