# Runs inside Ruby, as what its first program is. It gets all ready, and then reads its job in front of the standard
# input, which is otherwise the program's own: that first read is where a warm interpreter is forked
# (docs/architecture.md).
#
# The job: the length of it all, then fields of 4 bytes length and the bytes: "a" if an answer is wanted, and "s" in a
# session; file name, source, number of ARGV's elements and one more, these, NAME=VALUE of the environment. The answer is
# written to the standard input: JSON with what the last expression's value is. Reading on after an answer ends a
# session's turn, and what comes is the next job.
Object.new.instance_eval do
  require "json"
  require "set"
  $VERBOSE = nil
  $stdout.sync = $stderr.sync = true
  own_frames = ["#{__FILE__}:", "(eval", "eval:"]
  input = IO.for_fd(0, autoclose: false)
  last_words = []
  # What ends with the interpreter would never come: it is left standing.
  Kernel.define_method(:at_exit) { |&block| last_words.unshift(block) && block }
  Kernel.send(:private, :at_exit)

  read = lambda do |size|
    data = +"".b
    data << input.sysread(size - data.bytesize) while data.bytesize < size
    data
  end
  unpack = lambda do |data|
    fields, at = [], 0
    while at < data.bytesize
      size = data.unpack1("V", offset: at)
      fields << data.byteslice(at + 4, size)
      at += 4 + size
    end
    fields
  end
  text = ->(bytes) { bytes.force_encoding("UTF-8") }
  report = lambda do |error|
    # Frames of this file are no business of the program's author.
    trace = (error.backtrace || []).reject { |line| line.end_with?("in 'Kernel.eval'") || line.start_with?(*own_frames) }
    error.set_backtrace(trace)
    $stderr.write(trace.empty? ? "#{error.message.chomp} (#{error.class})\n" : error.full_message(highlight: false, order: :top))
  end
  # Runs a block as the program, and gives its exit status.
  guard = lambda do |&block|
    block.call
    0
  rescue SystemExit => stop
    stop.status
  rescue Exception => error
    report.(error)
    1
  end
  describe = lambda do |value|
    shown = value.inspect
    shown = "#{shown[0, 65536]}... (#{shown.size} characters)" if shown.size > 65536
    shown.encode("UTF-8", invalid: :replace, undef: :replace)
  end
  fresh = true
  GC.start
  loop do
    fields = unpack.(read.(read.(4).unpack1("V"))) # <- the checkpoint, and the end of a session's turn
    srand(Random.new_seed) if fresh # forked copies of one generator would all give the same numbers
    fresh = false
    session, wanted = fields[0].include?("s"), fields[0].include?("a")
    name, source, count = text.(fields[1]), text.(fields[2]), fields[3].to_i
    ARGV.replace(fields[5, count - 1].map { |field| text.(field) })
    (fields[4 + count..] || []).each do |field|
      key, value = text.(field).split("=", 2)
      ENV[key] = value
      Dir.chdir(value) rescue nil if key == "PWD"
    end
    $0 = name
    value = nil
    status = guard.() { value = TOPLEVEL_BINDING.eval(source, name) }
    unless session
      last_words.each { |block| ended = guard.() { block.call }; status = ended if ended != 0 }
    end
    answer = nil
    if wanted
      failed = guard.() { answer = JSON.generate({exit_code: status, **(value.nil? ? {} : {result: describe.(value)})}) if session || !value.nil? }
      status = failed if failed != 0
    end
    value = nil
    $stdout.flush
    if session || answer
      begin
        out = IO.for_fd(0, "w", autoclose: false)
        out.sync = true
        out.write(answer || %({"exit_code":#{status}}))
      rescue SystemCallError
        # nobody wants to know
      end
    end
    Process.exit!(status) unless session
  end
end
